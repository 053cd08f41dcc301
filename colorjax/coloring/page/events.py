"""What happens on the page, and what it reads and changes."""

import functools
import html
import json
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from colorjax.coloring.hints import Hint, as_hints
from colorjax.coloring.page.layout import Page
from colorjax.coloring.page.limits import (
    MOST_HINTS,
    MOST_PHOTOS,
    MOST_SAMPLES,
    Lane,
    Lanes,
    run_in_time,
)
from colorjax.coloring.page.references import Reference
from colorjax.coloring.page.view import (
    FORMATS,
    Studio,
    View,
    borrow,
    doubt,
    draw_samples,
    full_size,
    likely,
    make_ready,
    paint,
    preview,
    thumbnail,
)
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
    studio: Studio
    examples: list[str]
    lanes: Lanes

    def take(
        self, files: Sequence[dict[str, Any]] | None, photos: Sequence[Taken], visitor: gr.Request
    ) -> dict:
        """Reads what was uploaded into the queue; the first of it is to be coloured."""
        page = self.page
        new: list[Taken] = []
        faults: list[str] = []
        # A photo that is chosen again moves to the end.
        paths = list(dict.fromkeys(one["path"] for one in files or []))
        kept = [one for one in photos if one.path not in paths]
        room = MOST_PHOTOS - len(kept)
        # The first is shown at once, and is the last to be dropped.
        for path in reversed(paths[:room]):
            read = functools.partial(thumbnail, self.studio, path, owner_of(visitor))
            try:
                file = self._run(self.lanes.reading, path, read, owner_of(visitor))
                new.insert(0, Taken(path, file))
            except UserError as error:
                faults.insert(0, str(error))
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

    def show(self, view: View) -> dict:
        page = self.page
        act = functools.partial(paint, self.studio, view)
        pictures, words = self._run(self.lanes.network, view.path, act, view.owner)
        return {page.view: view, page.slider: pictures, page.caption: words}

    def show_other(
        self,
        path: str | None,
        view: View,
        pick: Pick | None,
        given: dict[str, tuple[Hint, ...]],
        visitor: gr.Request,
        *controls,
    ) -> dict:
        """Shows another photo, by the same reference.

        A draw that was picked, and all that was drawn, is of the last one.
        """
        if path is None:
            return {}
        page, (decode, *between, seed, edges) = self.page, controls
        if pick is not None and (decode, seed) == pick.after:
            decode, seed = pick.before
        decoder, *_, number, _ = page.controls
        settings = settings_of(*[decode, *between, seed, edges])
        owner = "" if path in self.examples else owner_of(visitor)
        settings = settings._replace(hints=given.get(path, ()))
        view = View(path, settings, owner, view.reference)
        return {
            **self.show(view),
            page.board: self._board(view),
            page.gallery: gr.Gallery([], visible=False),
            page.chosen: None,
            page.pick: None,
            decoder: decode,
            number: seed,
        }

    def take_example(
        self,
        index: int,
        view: View,
        pick: Pick | None,
        given: dict[str, tuple[Hint, ...]],
        visitor: gr.Request,
        *controls,
    ) -> dict:
        return self.show_other(self.examples[index], view, pick, given, visitor, *controls)

    def take_queued(
        self, event: gr.SelectData, photos: Sequence[Taken], visitor: gr.Request
    ) -> dict:
        """Reads a photo of the queue again if it is kept no more, where nobody waits for it."""
        path, owner = photos[event.index].path, owner_of(visitor)
        read = functools.partial(preview, self.studio, path, owner)
        self._run(self.lanes.reading, path, read, owner)
        return {self.page.chosen: path}

    def take_reference(self, file: dict[str, Any] | None, visitor: gr.Request) -> dict:
        """Looks at a reference that was uploaded, which `borrow` then has the photo coloured by."""
        lending, reference, faults = self.page.lending, None, []
        if file is not None:
            reference = Reference(file["path"], owner_of(visitor))
            look = functools.partial(borrow, self.studio, reference)
            try:
                self._run(self.lanes.reading, reference.path, look, reference.owner)
            except UserError as error:
                reference, faults = None, [str(error)]
        return {lending.upload: None, lending.offered: reference, lending.message: told(faults)}

    def borrow(self, view: View, reference: Reference | None, *controls) -> dict:
        """Colours by a reference, and shows it where it may be taken away again."""
        if reference is None:
            return {}
        view = with_controls(view, *controls)._replace(reference=reference)
        shown, lending = self.show(view), self.page.lending
        return {
            **shown,
            lending.offered: None,
            lending.upload: gr.File(None, visible=False),
            lending.shown: gr.Row(visible=True),
            lending.picture: borrow(self.studio, reference).thumbnail,
            lending.name: html.escape(reference.name),
        }

    def give_back(self, view: View, *controls) -> dict:
        """Colours without a reference."""
        lending = self.page.lending
        return {
            **self.show(with_controls(view, *controls)._replace(reference=None)),
            lending.upload: gr.File(None, visible=True),
            lending.shown: gr.Row(visible=False),
        }

    def change(self, view: View, *controls) -> dict:
        return self.show(with_controls(view, *controls))

    def reset(self, view: View) -> dict:
        values = [part.value for part in self.page.controls]
        changed = dict(zip(self.page.controls, values, strict=True))
        return {**changed, **self.change(view, *values), self.page.pick: None}

    def hint(self, text: str, view: View, given: dict[str, tuple[Hint, ...]], *controls) -> dict:
        """Colours by hints: JSON, [{"x": 120, "y": 80, "colour": "#d0a070"}, ...]."""
        hints = hints_of(text)
        view = with_controls(view, *controls)
        view = view._replace(settings=view.settings._replace(hints=hints))
        return {**self.show(view), self.page.given: {**given, view.path: hints}}

    def ask(self, text: str, view: View, rebalance: float | None) -> dict:
        """The network's own colours for a spot: JSON, {"x": 120, "y": 80}, and what else it has."""
        spot = spot_of(text)
        act = functools.partial(likely, self.studio, view, spot["x"], spot["y"], rebalance)
        found = self._run(self.lanes.network, view.path, act, view.owner)
        swatches = [{"colour": one.colour, "share": one.probability} for one in found]
        return {self.page.likely: data({**spot, "swatches": swatches})}

    def make_ready(self, view: View, *controls) -> dict:
        """Whoever looks at colours for a spot takes one of them next."""
        act = functools.partial(make_ready, self.studio, with_controls(view, *controls))
        self._run(self.lanes.ahead, view.path, act, view.owner)
        return {}

    def draw(self, view: View, count: float, *controls) -> dict:
        view = with_controls(view, *controls)
        count = min(int(count), MOST_SAMPLES)
        act = functools.partial(draw_samples, self.studio, view, count)
        found = self._run(self.lanes.network, view.path, act, view.owner)
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
            **self.change(view, *drawn_with),
            self.page.pick: pick,
            decoder: pick.after[0],
            number: pick.after[1],
        }

    def prepare(self, view: View, kind: str) -> dict:
        suffix = FORMATS.get(kind, FORMATS["PNG"])
        act = functools.partial(full_size, self.studio, view, suffix)
        file, notices = self._run(self.lanes.download, view.path, act, view.owner)
        return {self.page.file: file, self.page.message: told(notices, role="status")}

    def leave(self, visitor: gr.Request) -> None:
        """A visitor has gone: nobody waits for his photos any more."""
        self.lanes.leave(owner_of(visitor))
        self.studio.drop(owner_of(visitor))

    def _board(self, view: View) -> str:
        found = functools.partial(board, self.studio, view)
        return self._run(self.lanes.network, view.path, found, view.owner)

    def _run(self, lane: Lane, path: str, act: Callable[[], Any], owner: str) -> Any:
        return run_in_time(lane, Path(path).name, act, owner)


def owner_of(visitor: gr.Request) -> str:
    return visitor.session_hash or ""


def board(studio: Studio, view: View) -> str:
    """What the page's script is to know of a photo: its size, its hints, where it is doubtful.

    Raises:
      UserError: as `preview`.
    """
    found = preview(studio, view.path, view.owner)
    hints = [one._asdict() for one in view.settings.hints]
    return data(
        {
            "photo": uuid.uuid4().hex,
            "width": found.width,
            "height": found.height,
            "hints": hints,
            "most": MOST_HINTS,
            "doubt": doubt(studio, view),
        }
    )


def data(value: Any) -> str:
    """HTML that shows nothing and holds a value, for the page's script."""
    return f"<data value='{html.escape(json.dumps(value))}'></data>"


def hints_of(text: str) -> tuple[Hint, ...]:
    """The hints of JSON that the page's script has sent; raises UserError."""
    found = _parsed(text)
    if not isinstance(found, list):
        raise UserError("hints: are no list")
    if len(found) > MOST_HINTS:
        raise UserError(f"there are {len(found)} colours of yours, want at most {MOST_HINTS}")
    return as_hints(found)


def spot_of(text: str) -> dict[str, Any]:
    """A pixel, and what else was said with it; raises UserError."""
    found = _parsed(text)
    if not isinstance(found, dict) or not all(type(found.get(name)) is int for name in "xy"):
        raise UserError("spot: want whole numbers x and y")
    return found


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError, TypeError) as error:
        raise UserError(f"is no JSON: {error}") from error


def with_controls(view: View, *controls: Any) -> View:
    """A view by what the controls say, with the hints and the reference that it has."""
    return view._replace(settings=settings_of(*controls)._replace(hints=view.settings.hints))


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
            # An empty answer would be taken for a value.
            return {**quiet, **act(*args)} or gr.skip()
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
