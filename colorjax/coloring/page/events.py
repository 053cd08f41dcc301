"""What happens on the page, and what it reads and changes."""

import functools
import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from colorjax.coloring.api import Colorizer
from colorjax.coloring.page.layout import Page
from colorjax.coloring.page.limits import MOST_PHOTOS, MOST_SAMPLES, Lane, Lanes, in_time
from colorjax.coloring.page.view import FORMATS, View, draw_samples, full_size, paint, thumbnail
from colorjax.coloring.settings import Settings
from colorjax.errors import UserError


class Taken(NamedTuple):
    """A photo of a visitor's queue, and the file that shows it there."""

    path: str
    thumbnail: str


class Pick(NamedTuple):
    """A draw that was clicked: the decoder and the seed before it, and those of the draw."""

    before: tuple[str | None, float | None]
    after: tuple[str, int]


class Events(NamedTuple):
    """What happens when; each method takes values of parts, and returns those that change."""

    page: Page
    colorizer: Colorizer
    folder: Path
    examples: list[str]
    lanes: Lanes

    def take(self, files: Sequence[dict[str, Any]] | None, photos: Sequence[Taken]) -> dict:
        """Reads what was uploaded into the queue; the first of it is to be coloured."""
        page, new, faults = self.page, [], []
        # A photo that is chosen again moves to the end.
        paths = list(dict.fromkeys(one["path"] for one in files or []))
        kept = [one for one in photos if one.path not in paths]
        room = MOST_PHOTOS - len(kept)
        for path in paths[:room]:
            read = functools.partial(thumbnail, self.folder, path)
            try:
                new.append(Taken(path, in_time(self.lanes.reading, Path(path).name, read)))
            except UserError as error:
                faults.append(str(error))
        if paths[room:]:
            faults.append(
                f"{Path(paths[room]).name}: has no room, nor has what comes after it; "
                f"want at most {MOST_PHOTOS} photos at a time"
            )
        taken = [*kept, *new]
        shown = [(one.thumbnail, Path(one.path).name) for one in taken]
        return {
            page.photos: taken,
            page.queue: gr.Gallery(shown, visible=bool(taken), selected_index=None),
            page.upload: None,
            page.chosen: new[0].path if new else None,
            page.message: told(faults),
        }

    def show(self, path: str, settings: Settings) -> dict:
        page, view = self.page, View(path, settings)
        act = functools.partial(paint, self.colorizer, self.folder, view)
        pictures, words = in_time(self.lanes.network, view.name, act)
        return {page.view: view, page.slider: pictures, page.caption: words}

    def show_other(self, path: str | None, pick: Pick | None, *controls) -> dict:
        """Shows another photo. A draw that was picked, and all that was drawn, is of the last."""
        if path is None:
            return {}
        page, (decode, *between, seed, edges) = self.page, controls
        if pick is not None and (decode, seed) == pick.after:
            decode, seed = pick.before
        decoder, *_, number, _ = page.controls
        return {
            **self.show(path, settings_of(*[decode, *between, seed, edges])),
            page.gallery: gr.Gallery([], visible=False),
            page.chosen: None,
            page.pick: None,
            decoder: decode,
            number: seed,
        }

    def take_example(self, index: int, pick: Pick | None, *controls) -> dict:
        return self.show_other(self.examples[index], pick, *controls)

    def take_queued(
        self, event: gr.SelectData, photos: Sequence[Taken], pick: Pick | None, *controls
    ) -> dict:
        return self.show_other(photos[event.index].path, pick, *controls)

    def change(self, view: View, *controls) -> dict:
        return self.show(view.path, settings_of(*controls))

    def reset(self, view: View) -> dict:
        values = [part.value for part in self.page.controls]
        changed = dict(zip(self.page.controls, values, strict=True))
        return {**changed, **self.change(view, *values), self.page.pick: None}

    def draw(self, view: View, count: float, *controls) -> dict:
        view = View(view.path, settings_of(*controls))
        count = min(int(count), MOST_SAMPLES)
        act = functools.partial(draw_samples, self.colorizer, self.folder, view, count)
        found = in_time(self.lanes.network, view.name, act)
        return {
            self.page.gallery: gr.Gallery(found, visible=True, selected_index=None),
            self.page.drawn: view.settings.seed,
        }

    def take_draw(
        self, event: gr.SelectData, view: View, drawn: int, pick: Pick | None, *controls
    ) -> dict:
        decode, *between, seed, edges = controls
        before = (decode, seed)
        if pick is not None and before == pick.after:
            before = pick.before
        pick = Pick(before, ("sample", drawn + event.index))
        drawn_with = [pick.after[0], *between, pick.after[1], edges]
        decoder, *_, number, _ = self.page.controls
        return {
            **self.show(view.path, settings_of(*drawn_with)),
            self.page.pick: pick,
            decoder: pick.after[0],
            number: pick.after[1],
        }

    def prepare(self, view: View, kind: str) -> dict:
        suffix = FORMATS.get(kind, FORMATS["PNG"])
        act = functools.partial(full_size, self.colorizer, self.folder, view, suffix)
        file, notices = in_time(self.lanes.download, view.name, act)
        return {self.page.file: file, self.page.message: told(notices, role="status")}


def told(sentences: Sequence[str], role: str = "alert") -> str:
    """HTML of what is to be said above the photo; empty if there is nothing."""
    return "".join(f'<p role="{role}">{html.escape(one)}</p>' for one in sentences)


def in_lane(lane: Lane, message: gr.HTML, listen: Callable, act: Callable[..., dict], **settings):
    """Has an event run `act` in the queue of a lane; what is wrong is told in the page.

    Args:
      lane: whose jobs wait for each other.
      message: where it is told; what it says of an event before is taken away.
      listen: adds the event.
      act: a method of `Events`.
      **settings: of the event. `keeps_message` leaves what the message says.
    """
    quiet = {} if settings.pop("keeps_message", False) else {message: ""}

    @functools.wraps(act)
    def run(*args):
        try:
            return {**quiet, **act(*args)}
        except UserError as error:
            return {message: told([str(error)])}

    more = {"api_visibility": "private"} | settings
    return listen(run, concurrency_limit=lane.width, concurrency_id=lane.name, **more)


def settings_of(
    decode: str | None,
    temperature: float,
    rebalance: float | None,
    saturation: float,
    seed: float | None,
    edges: bool,
) -> Settings:
    """What the controls say."""
    return Settings(
        decode,
        temperature,
        rebalance,
        saturation,
        int(seed or 0),
        "guided" if edges else "bilinear",
    )
