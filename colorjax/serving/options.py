"""The options of a request, given as query parameters; they are those of the command."""

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from colorjax.coloring.hints import as_hints, parse
from colorjax.coloring.settings import ColorSettings
from colorjax.errors import UserError

Finite = Field(allow_inf_nan=False)


class Options(BaseModel):
    """The query parameters of a request; unknown ones are rejected."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["jpg", "png", "tif", "webp"] | None = Field(
        None,
        description="Format of the result; by default the picture's own if writable, else png.",
    )
    quality: int = Field(95, ge=1, le=100, description="Quality of JPEG and WebP.")
    decode: Literal["argmax", "mean", "annealed", "sample"] | None = Field(
        None, description="How the scores of colours become one colour; the model's own by default."
    )
    temperature: Annotated[float, Finite] | None = Field(
        None, ge=1e-3, description="For annealed and sample; lower values keep to likelier colours."
    )
    rebalance: Annotated[float, Finite] | None = Field(
        None, ge=0, le=1, description="From 0 (common colours) to 1 (rare and vivid colours)."
    )
    saturation: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="Multiplies the chroma; 0 is gray."
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Random seed for sample.")
    edges: Literal["guided", "bilinear"] = Field(
        "guided", description="guided makes colours end at the edges in the photo."
    )
    hint: list[str] = Field([], description="X,Y=#RRGGBB: the colour at a pixel; may be repeated.")
    hints: str = Field(
        "", description='More hints, as JSON: [{"x": 120, "y": 80, "colour": "#d0a070"}, ...].'
    )

    def settings(self) -> ColorSettings:
        """Returns the settings for colouring; raises UserError for an invalid hint."""
        return ColorSettings(
            self.decode,
            self.temperature,
            self.rebalance,
            self.saturation,
            self.seed,
            self.edges,
            as_hints([*map(parse, self.hint), *_parse_json(self.hints)]),
        )


def _parse_json(text: str) -> list:
    if not text:
        return []
    try:
        hints = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"hints: is not valid JSON ({error})") from error
    if not isinstance(hints, list):
        raise UserError(f"hints: holds {type(hints).__name__}, want a list of hints")
    return hints
