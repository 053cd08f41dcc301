"""The settings of one colouring, and their validation."""

from typing import NamedTuple

from colorjax.coloring.hints import MAX_HINTS, Hint
from colorjax.coloring.network.transfer import Reference
from colorjax.errors import UserError, check_at_least, check_choice, check_share
from colorjax.ops.decoding import METHODS
from colorjax.settings import Decoding, check_seed
from colorjax.weights.released import Network

EDGES = ("guided", "bilinear")
MAX_SATURATION = 1_000_000  # far above it float32 overflows, and pictures become black


class ColorSettings(NamedTuple):
    """How a photo is coloured; None stands for the value in the model's config.

    Attributes:
      decode: how scores become chroma: argmax, mean, annealed or sample (`colorjax.ops.decoding`).
      temperature: for annealed and sample, > 0.
      rebalance: for a model trained with class rebalancing, how much of it the colours keep: from
        0, where likely colours are favoured, to 1, where rare colours, which are the vivid ones,
        are as frequent as in its training.
      saturation: factor on chroma, >= 0; 0 is gray.
      seed: random seed for sample.
      edges: `guided` upsamples chroma along the edges of the photo's lightness; `bilinear` ignores
        them.
      hints: known colours at pixels of the photo, which spread over similar neighbouring pixels. A
        hint on a border has the borders coloured too.
      reference: from `reference.prepare_reference`; its colours go to similar parts of the photo.
        Hints take precedence over it.
    """

    decode: str | None = None
    temperature: float | None = None
    rebalance: float | None = None
    saturation: float = 1.0
    seed: int = 0
    edges: str = "guided"
    hints: tuple[Hint, ...] = ()
    reference: Reference | None = None


def own_decoding(network: Network) -> Decoding | None:
    """Returns the model's own decoding; None for a network that predicts chroma itself."""
    return None if network.config.objective == "regression" else network.config.decoding


def rebalanced(network: Network) -> bool:
    """Returns whether the training used class rebalancing, which `rebalance` needs."""
    config = network.config
    return config.objective == "classification" and config.rebalance.enabled


def check_settings(settings: ColorSettings, network: Network) -> None:
    """Raises UserError for a setting that is not one of its choices or is out of range."""
    if settings.decode is not None:
        check_choice("decode", settings.decode, METHODS)
        if own_decoding(network) is None:
            raise UserError(
                f"decode is {settings.decode!r}, but the model predicts chroma itself: want none"
            )
    if settings.temperature is not None:
        check_at_least("temperature", settings.temperature, 1e-3)
    if settings.rebalance is not None:
        check_share("rebalance", settings.rebalance)
        if not rebalanced(network):
            raise UserError(
                f"rebalance is {settings.rebalance}, but the model's training was not rebalanced: "
                "want none"
            )
    check_at_least("saturation", settings.saturation, 0.0)
    if settings.saturation > MAX_SATURATION:
        raise UserError(f"saturation is {settings.saturation}, want at most {MAX_SATURATION:,}")
    check_seed("seed", settings.seed)
    check_choice("edges", settings.edges, EDGES)
    if len(settings.hints) > MAX_HINTS:
        raise UserError(f"there are {len(settings.hints):,} hints, want at most {MAX_HINTS:,}")
