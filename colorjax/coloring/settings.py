"""How a photo is coloured, and what a network has to say about it."""

from typing import NamedTuple

from colorjax.coloring.hints import MOST, Hint
from colorjax.coloring.network.transfer import Reference
from colorjax.errors import UserError, check_at_least, check_choice, check_share
from colorjax.ops.decoding import METHODS
from colorjax.settings import Decoding, check_seed
from colorjax.weights.released import Network

EDGES = ("guided", "bilinear")
MOST_SATURATION = 1_000_000  # far beyond, float32 overflows, and pictures become black


class Settings(NamedTuple):
    """How a photo is coloured; None leaves it to the model's config.

    Attributes:
      decode: how scores become chroma: argmax, mean, annealed or sample (`colorjax.ops.decoding`).
      temperature: of annealed and sample, > 0.
      rebalance: how much of its rebalanced training stays in the colours of a model that had such:
        from 0, what is likely, to 1, where rare colours, which are the vivid ones, come as easily
        as in its training.
      saturation: by which chroma is multiplied, from 0 (gray) on.
      seed: of sample.
      edges: `guided`, chroma is enlarged along the edges of the photo's lightness; `bilinear`,
        without regard to them.
      hints: colours that are given at pixels of the photo, and which what belongs together follows;
        on a border, they have it coloured too.
      reference: a picture whose colours go to what is like it in the photo, from
        `reference.of_photo`; hints go before it.
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
    """How the scores are decoded unless told; None of a network that predicts chroma itself."""
    return None if network.config.objective == "regression" else network.config.decoding


def rebalanced(network: Network) -> bool:
    """Whether rare colours weighed more in its training, so that `rebalance` means something."""
    config = network.config
    return config.objective == "classification" and config.rebalance.enabled


def check_settings(settings: Settings, network: Network) -> None:
    """Raises UserError for a setting that is none of its choices or out of its range."""
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
    if settings.saturation > MOST_SATURATION:
        raise UserError(f"saturation is {settings.saturation}, want at most {MOST_SATURATION:,}")
    check_seed("seed", settings.seed)
    check_choice("edges", settings.edges, EDGES)
    if len(settings.hints) > MOST:
        raise UserError(f"there are {len(settings.hints):,} hints, want at most {MOST:,}")
