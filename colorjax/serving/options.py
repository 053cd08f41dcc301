"""The options of a request: those of the command, in the query."""

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from colorjax.coloring.hints import as_hints, parse
from colorjax.coloring.settings import Settings
from colorjax.errors import UserError

Finite = Field(allow_inf_nan=False)


class Options(BaseModel):
    """What may be asked for; an option that there is not is refused."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["jpg", "png", "tif", "webp"] | None = Field(
        None, description="Of the answer; the picture's own unless given, or else png."
    )
    quality: int = Field(95, ge=1, le=100, description="Of JPEG and WebP.")
    decode: Literal["argmax", "mean", "annealed", "sample"] | None = Field(
        None, description="How scores of colours become a colour; the model's own unless given."
    )
    temperature: Annotated[float, Finite] | None = Field(
        None, ge=1e-3, description="Of annealed and sample; lower is more sure of itself."
    )
    rebalance: Annotated[float, Finite] | None = Field(
        None, ge=0, le=1, description="From 0, likely colours, to 1, rare and vivid ones."
    )
    saturation: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="Multiplies the chroma; 0 is gray."
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Of sample.")
    edges: Literal["guided", "bilinear"] = Field(
        "guided", description="Whether colour ends at the edges of the photo."
    )
    hint: list[str] = Field(
        [], description="X,Y=#RRGGBB, the colour at a pixel; may be given several times."
    )
    hints: str = Field(
        "", description='More of them, in JSON: [{"x": 120, "y": 80, "colour": "#d0a070"}, ...].'
    )

    def settings(self) -> Settings:
        """How the picture is coloured; raises UserError for what is no hint."""
        return Settings(
            self.decode,
            self.temperature,
            self.rebalance,
            self.saturation,
            self.seed,
            self.edges,
            as_hints([*map(parse, self.hint), *_listed(self.hints)]),
        )


def _listed(text: str) -> list:
    if not text:
        return []
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"hints: is no JSON ({error})") from error
    if not isinstance(found, list):
        raise UserError(f"hints: holds {type(found).__name__}, want a list of hints")
    return found
