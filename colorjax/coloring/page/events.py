"""The page's event handlers: they read values of its parts, and return the parts that change."""

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
    MAX_HINTS,
    MAX_PHOTOS,
    MAX_SAMPLES,
    Lane,
    Lanes,
    run_in_time,
)
from colorjax.coloring.page.references import Reference
from colorjax.coloring.page.view import (
    FORMATS,
    Studio,
    View,
    draw_samples,
    full_size,
    likely,
    load_preview,
    load_reference,
    paint,
    precompile,
    thumbnail,
    uncertainty_mask,
)
from colorjax.coloring.settings import ColorSettings
from colorjax.errors import UserError


class QueuedPhoto(NamedTuple):
    """A photo in a visitor's queue, and the file of its thumbnail."""

    path: str
    thumbnail: str


class Pick(NamedTuple):
    """A sample that the visitor clicked.

    Attributes:
      before: decoder and seed that the controls had before the click.
      after: decoder and seed of the sample.
    """

    before: tuple[str | None, float | None]
    after: tuple[str, int]


class Events(NamedTuple):
    """The event handlers; each takes values of parts, and returns the new values by part."""

    page: Page
    studio: Studio
    examples: list[str]
    lanes: Lanes

    def add_photos(
        self,
        files: Sequence[dict[str, Any]] | None,
        photos: Sequence[QueuedPhoto],
        visitor: gr.Request,
    ) -> dict:
        """Reads uploaded photos into the queue, and chooses the first of them to be shown."""
        page = self.page
        new: list[QueuedPhoto] = []
        faults: list[str] = []
        # A photo that is chosen again moves to the end.
        paths = list(dict.fromkeys(one["path"] for one in files or []))
        earlier = [one for one in photos if one.path not in paths]
        room = MAX_PHOTOS - len(earlier)
        # The first photo is read last: it is shown at once, so the cache must not evict it.
        for path in reversed(paths[:room]):
            read = functools.partial(thumbnail, self.studio, path, owner_of(visitor))
            try:
                file = self._run(self.lanes.reading, path, read, owner_of(visitor))
                new.insert(0, QueuedPhoto(path, file))
            except UserError as error:
                faults.insert(0, str(error))
        if paths[room:]:
            faults.append(
                f"{Path(paths[room]).name}: was left out, with all photos after it, because the "
                f"queue is full; want at most {MAX_PHOTOS} photos at a time"
            )
        queue = [*earlier, *new]
        shown = [(one.thumbnail, Path(one.path).name) for one in queue]
        return {
            page.photos: queue,
            page.queue: gr.Gallery(shown, visible=bool(queue), selected_index=None),
            page.upload: None,
            page.chosen: new[0].path if new else None,
            page.message: paragraphs(faults),
        }

    def show(self, view: View) -> dict:
        page = self.page
        work = functools.partial(paint, self.studio, view)
        pictures, words = self._run(self.lanes.network, view.path, work, view.owner)
        return {page.view: view, page.slider: pictures, page.caption: words}

    def show_photo(
        self,
        path: str | None,
        view: View,
        pick: Pick | None,
        saved_hints: dict[str, tuple[Hint, ...]],
        visitor: gr.Request,
        *controls,
    ) -> dict:
        """Shows another photo, with the same reference.

        Hides the previous photo's samples. If one of them was picked and the controls still have
        its decoder and seed, restores those from before the pick.
        """
        if path is None:
            return {}
        page, (decode, *between, seed, edges) = self.page, controls
        if pick is not None and (decode, seed) == pick.after:
            decode, seed = pick.before
        decoder, *_, number, _ = page.controls
        settings = settings_of(*[decode, *between, seed, edges])
        owner = "" if path in self.examples else owner_of(visitor)
        settings = settings._replace(hints=saved_hints.get(path, ()))
        view = View(path, settings, owner, view.reference)
        return {
            **self.show(view),
            page.photo_data: self._photo_data(view),
            page.gallery: gr.Gallery([], visible=False),
            page.chosen: None,
            page.pick: None,
            decoder: decode,
            number: seed,
        }

    def show_example(
        self,
        index: int,
        view: View,
        pick: Pick | None,
        saved_hints: dict[str, tuple[Hint, ...]],
        visitor: gr.Request,
        *controls,
    ) -> dict:
        return self.show_photo(self.examples[index], view, pick, saved_hints, visitor, *controls)

    def choose_queued(
        self, event: gr.SelectData, photos: Sequence[QueuedPhoto], visitor: gr.Request
    ) -> dict:
        """Chooses a photo of the queue to be shown.

        If the photo is no longer cached, it is read again here, in the reading lane, so that the
        network lane does not wait for it.
        """
        path, owner = photos[event.index].path, owner_of(visitor)
        read = functools.partial(load_preview, self.studio, path, owner)
        self._run(self.lanes.reading, path, read, owner)
        return {self.page.chosen: path}

    def read_reference(self, file: dict[str, Any] | None, visitor: gr.Request) -> dict:
        """Reads and prepares an uploaded reference, which `use_reference` then uses."""
        panel, reference, faults = self.page.reference_panel, None, []
        if file is not None:
            reference = Reference(file["path"], owner_of(visitor))
            read = functools.partial(load_reference, self.studio, reference)
            try:
                self._run(self.lanes.reading, reference.path, read, reference.owner)
            except UserError as error:
                reference, faults = None, [str(error)]
        return {panel.upload: None, panel.ready: reference, panel.message: paragraphs(faults)}

    def use_reference(self, view: View, reference: Reference | None, *controls) -> dict:
        """Colours by a reference, and shows it with the button that removes it."""
        if reference is None:
            return {}
        view = with_controls(view, *controls)._replace(reference=reference)
        shown, panel = self.show(view), self.page.reference_panel
        return {
            **shown,
            panel.ready: None,
            panel.upload: gr.File(None, visible=False),
            panel.row: gr.Row(visible=True),
            panel.picture: load_reference(self.studio, reference).thumbnail,
            panel.name: html.escape(reference.name),
        }

    def remove_reference(self, view: View, *controls) -> dict:
        panel = self.page.reference_panel
        return {
            **self.show(with_controls(view, *controls)._replace(reference=None)),
            panel.upload: gr.File(None, visible=True),
            panel.row: gr.Row(visible=False),
        }

    def change(self, view: View, *controls) -> dict:
        return self.show(with_controls(view, *controls))

    def reset(self, view: View) -> dict:
        values = [part.value for part in self.page.controls]
        changed = dict(zip(self.page.controls, values, strict=True))
        return {**changed, **self.change(view, *values), self.page.pick: None}

    def hint(
        self, text: str, view: View, saved_hints: dict[str, tuple[Hint, ...]], *controls
    ) -> dict:
        """Colours by hints in JSON: [{"x": 120, "y": 80, "colour": "#d0a070"}, ...]."""
        hints = parse_hints(text)
        view = with_controls(view, *controls)
        view = view._replace(settings=view.settings._replace(hints=hints))
        return {**self.show(view), self.page.saved_hints: {**saved_hints, view.path: hints}}

    def suggest(self, text: str, view: View, rebalance: float | None) -> dict:
        """Returns likely colours for a spot in JSON: {"x": 120, "y": 80}; other keys are echoed."""
        spot = parse_spot(text)
        work = functools.partial(likely, self.studio, view, spot["x"], spot["y"], rebalance)
        guesses = self._run(self.lanes.network, view.path, work, view.owner)
        swatches = [{"colour": one.colour, "share": one.probability} for one in guesses]
        return {self.page.likely: data_element({**spot, "swatches": swatches})}

    def precompile(self, view: View, *controls) -> dict:
        """Compiles the program for hints: a visitor who sees likely colours will soon pick one."""
        work = functools.partial(precompile, self.studio, with_controls(view, *controls))
        self._run(self.lanes.ahead, view.path, work, view.owner)
        return {}

    def draw(self, view: View, count: float, *controls) -> dict:
        view = with_controls(view, *controls)
        count = min(int(count), MAX_SAMPLES)
        work = functools.partial(draw_samples, self.studio, view, count)
        samples = self._run(self.lanes.network, view.path, work, view.owner)
        return {
            self.page.gallery: gr.Gallery(samples, visible=True, selected_index=None),
            self.page.first_seed: view.settings.seed,
        }

    def pick_sample(
        self, event: gr.SelectData, view: View, first_seed: int, pick: Pick | None, *controls
    ) -> dict:
        decode, *between, seed, edges = controls
        before = (decode, seed)
        if pick is not None and before == pick.after:
            before = pick.before
        pick = Pick(before, ("sample", first_seed + event.index))
        values = [pick.after[0], *between, pick.after[1], edges]
        decoder, *_, number, _ = self.page.controls
        return {
            **self.change(view, *values),
            self.page.pick: pick,
            decoder: pick.after[0],
            number: pick.after[1],
        }

    def prepare_download(self, view: View, kind: str) -> dict:
        suffix = FORMATS.get(kind, FORMATS["PNG"])
        work = functools.partial(full_size, self.studio, view, suffix)
        file, notices = self._run(self.lanes.download, view.path, work, view.owner)
        return {self.page.file: file, self.page.message: paragraphs(notices, role="status")}

    def leave(self, visitor: gr.Request) -> None:
        """Cancels the jobs of a visitor who has left the page, and clears their cache."""
        self.lanes.leave(owner_of(visitor))
        self.studio.drop(owner_of(visitor))

    def _photo_data(self, view: View) -> str:
        work = functools.partial(photo_data, self.studio, view)
        return self._run(self.lanes.network, view.path, work, view.owner)

    def _run(self, lane: Lane, path: str, work: Callable[[], Any], owner: str) -> Any:
        return run_in_time(lane, Path(path).name, work, owner)


def owner_of(visitor: gr.Request) -> str:
    return visitor.session_hash or ""


def photo_data(studio: Studio, view: View) -> str:
    """Returns what the page's script needs of a photo: its size, hints and uncertainty mask.

    Raises:
      UserError: as `load_preview`.
    """
    preview = load_preview(studio, view.path, view.owner)
    hints = [one._asdict() for one in view.settings.hints]
    return data_element(
        {
            "photo": uuid.uuid4().hex,
            "width": preview.width,
            "height": preview.height,
            "hints": hints,
            "most": MAX_HINTS,
            "doubt": uncertainty_mask(studio, view),
        }
    )


def data_element(value: Any) -> str:
    """Returns an invisible HTML element that contains a JSON value for the page's script."""
    return f"<data value='{html.escape(json.dumps(value))}'></data>"


def parse_hints(text: str) -> tuple[Hint, ...]:
    """Parses the hints that the page's script has sent as JSON; raises UserError."""
    hints = _parse_json(text)
    if not isinstance(hints, list):
        raise UserError(f"hints: holds {type(hints).__name__}, want a list of hints")
    if len(hints) > MAX_HINTS:
        raise UserError(f"the photo has {len(hints)} colours of your own, want at most {MAX_HINTS}")
    return as_hints(hints)


def parse_spot(text: str) -> dict[str, Any]:
    """Parses a JSON object with a pixel's integers x and y; raises UserError."""
    spot = _parse_json(text)
    if not isinstance(spot, dict) or not all(type(spot.get(name)) is int for name in "xy"):
        raise UserError("spot: want whole numbers x and y")
    return spot


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError, TypeError) as error:
        raise UserError(f"is not valid JSON: {error}") from error


def with_controls(view: View, *controls: Any) -> View:
    """Returns the view with the controls' settings; its hints and reference stay."""
    return view._replace(settings=settings_of(*controls)._replace(hints=view.settings.hints))


def paragraphs(sentences: Sequence[str], role: str = "alert") -> str:
    """Returns sentences as HTML for a message part; empty if there are none."""
    return "".join(f'<p role="{role}">{html.escape(one)}</p>' for one in sentences)


def in_lane(
    lane: Lane, message: gr.HTML, listen: Callable, handler: Callable[..., dict], **settings
):
    """Registers an event handler in the queue of a lane; its errors are shown on the page.

    Args:
      lane: sets the queue, and how many of its handlers run at a time.
      message: part that shows a UserError; the handler clears what an earlier event left there.
      listen: registers a handler for the event.
      handler: a method of `Events`.
      **settings: of the event. `keeps_message` leaves the message as it is.
    """
    cleared = {} if settings.pop("keeps_message", False) else {message: ""}

    @functools.wraps(handler)
    def run(*args):
        try:
            # Gradio would take an empty dict for a value of the part.
            return {**cleared, **handler(*args)} or gr.skip()
        except UserError as error:
            return {message: paragraphs([str(error)])}

    settings = {"api_visibility": "private"} | settings
    return listen(run, concurrency_limit=lane.width, concurrency_id=lane.name, **settings)


def settings_of(
    decode: str | None,
    temperature: float,
    rebalance: float | None,
    saturation: float,
    seed: float | None,
    edges: bool,
) -> ColorSettings:
    """Returns the settings that the controls' values stand for."""
    return ColorSettings(
        decode,
        temperature,
        rebalance,
        saturation,
        int(seed or 0),
        "guided" if edges else "bilinear",
    )
