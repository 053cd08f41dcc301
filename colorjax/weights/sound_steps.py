"""Which steps in a folder of checkpoints are sound: Orbax sees no others."""

import itertools
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

from orbax.checkpoint import path as orbax_path

from colorjax.errors import UserError
from colorjax.weights import digests

_logger = logging.getLogger(__name__)


class SoundSteps(orbax_path.step.NameFormat):
    """Orbax's plain names of steps, less those that are passed over.

    With `moves`, what is passed over is renamed to `damaged-STEP-NUMBER`, so that the step can be
    made anew; nothing of it is removed.
    """

    def __init__(self, folder: Path, moves: bool):
        self._folder, self._moves = folder, moves
        self._plain = orbax_path.step.standard_name_format()
        self._hidden: set[int] = set()

    def build_name(self, step: int) -> str:
        return self._plain.build_name(step)

    def find_all(self, base_path: Path) -> Iterator:
        return (one for one in self._plain.find_all(base_path) if one.step not in self._hidden)

    def find_step(self, base_path: Path, step: int):
        if step in self._hidden:
            raise ValueError(f"step {step} in {base_path} is passed over")
        return self._plain.find_step(base_path, step)

    def pass_over_damaged(self) -> None:
        """Looks at all steps. Raises UserError if there are some, and all are damaged."""
        faults = digests.faults(self._folder)
        whole = [step for step, fault in faults.items() if fault is None]
        damaged = {step: fault for step, fault in faults.items() if fault is not None}
        for step, fault in damaged.items():
            place = self._folder / str(step)
            if not whole:
                raise UserError(
                    f"{place} is damaged ({fault}) and there is no other checkpoint, want a copy "
                    "of it, or the folder removed to begin anew"
                )
            if "missing" in fault and step < max(whole):
                self._finish_removal(step, fault)
            else:
                self.pass_over(step, f"{place} is damaged: {fault}", max(whole))

    def pass_over(self, step: int, fault: str, instead: int) -> None:
        """Has Orbax see `step` no more, and says so."""
        kept = ""
        if self._moves:
            names = (f"damaged-{step}-{number}" for number in itertools.count(1))
            kept = next(name for name in names if not (self._folder / name).exists())
            (self._folder / str(step)).rename(self._folder / kept)
            kept = f"; it is kept as {kept}"
        else:
            self._hidden.add(step)
        _logger.warning("%s; step %d is used instead%s", fault, instead, kept)

    def _finish_removal(self, step: int, fault: str) -> None:
        """An old step that lacks files was being removed when its run was killed."""
        if self._moves:
            shutil.rmtree(self._folder / str(step), ignore_errors=True)
        else:
            self._hidden.add(step)
        _logger.warning(
            "%s: %s, as where a run was killed that was removing it: passed over",
            self._folder / str(step),
            fault,
        )
