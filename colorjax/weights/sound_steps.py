"""Hides damaged steps in a folder of checkpoints from Orbax."""

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
    """Orbax's standard format of step names, without the steps that are skipped.

    With `renames`, the folder of a skipped step is renamed to `damaged-STEP-NUMBER`, so that the
    step can be saved again; its files are not removed. Otherwise the step is only hidden.
    """

    def __init__(self, folder: Path, renames: bool):
        self._folder, self._renames = folder, renames
        self._plain = orbax_path.step.standard_name_format()
        self._hidden: set[int] = set()

    def build_name(self, step: int) -> str:
        return self._plain.build_name(step)

    def find_all(self, base_path: Path) -> Iterator:
        return (step for step in self._plain.find_all(base_path) if step.step not in self._hidden)

    def find_step(self, base_path: Path, step: int):
        if step in self._hidden:
            raise ValueError(f"step {step} in {base_path} is skipped")
        return self._plain.find_step(base_path, step)

    def skip_damaged(self) -> None:
        """Checks all steps, and skips damaged ones.

        Raises UserError if there are steps and all of them are damaged.
        """
        faults = digests.faults(self._folder)
        whole = [step for step, fault in faults.items() if fault is None]
        damaged = {step: fault for step, fault in faults.items() if fault is not None}
        for step, fault in damaged.items():
            path = self._folder / str(step)
            if not whole:
                raise UserError(
                    f"{path} is damaged ({fault}) and there is no other checkpoint, want an intact "
                    "copy of it, or the folder removed to start from the beginning"
                )
            if "missing" in fault and step < max(whole):
                self._finish_removal(step, fault)
            else:
                self.skip(step, f"{path} is damaged: {fault}", max(whole))

    def skip(self, step: int, fault: str, instead: int) -> None:
        """Hides `step` from Orbax, and logs a warning that step `instead` is used."""
        note = ""
        if self._renames:
            names = (f"damaged-{step}-{number}" for number in itertools.count(1))
            name = next(name for name in names if not (self._folder / name).exists())
            (self._folder / str(step)).rename(self._folder / name)
            note = f"; it is kept as {name}"
        else:
            self._hidden.add(step)
        _logger.warning("%s; step %d is used instead%s", fault, instead, note)

    def _finish_removal(self, step: int, fault: str) -> None:
        """Removes an old step that lacks files because a run was killed while removing it.

        Without `renames` the step is only hidden.
        """
        if self._renames:
            shutil.rmtree(self._folder / str(step), ignore_errors=True)
        else:
            self._hidden.add(step)
        _logger.warning(
            "%s: %s, probably because a run was killed while removing it: skipped",
            self._folder / str(step),
            fault,
        )
