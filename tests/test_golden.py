"""Colours and losses are compared with recorded ones, to detect unintended changes.

    python tests/test_golden.py           records the pictures again, after a new released model
    python tests/test_golden.py losses    records the losses again, after a change of training

The pictures may differ slightly between kinds of CPU, the first losses hardly at all.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

FOLDER = Path(__file__).parent
PICTURES, LOSSES = FOLDER / "golden_pictures.json", FOLDER / "golden_losses.json"
CELLS = 8  # per side


def pictures() -> dict[str, list[int]]:
    """Colours the bundled photographs; returns the mean colours of 8 x 8 cells of each."""
    import colorjax

    sample = Path(colorjax.__file__).parent / "data" / "sample"
    names = sorted(path.name for path in sample.glob("*.jpg"))
    found = colorjax.Colorizer().colorize_many(sample / name for name in names)
    return {
        name: np.asarray(image.resize((CELLS, CELLS), Image.Resampling.BOX)).ravel().tolist()
        for name, image in zip(names, found, strict=True)
    }


def losses(workdir: Path) -> list[float]:
    """The losses of the first twenty steps of a network of a sixteenth of the width."""
    from test_train import tiny_config, train

    config = tiny_config(num_steps=20, eval_every=20, ageing=0.5, ema=0.9, rebalance__enabled=True)
    train.train(config, workdir)
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if row["split"] == "train"]


@pytest.fixture(scope="module")
def coloured():
    return pictures()


@pytest.mark.parametrize("name", json.loads(PICTURES.read_text()) if PICTURES.exists() else [])
def test_a_photograph_gets_the_recorded_colours(coloured, name):
    cells = np.array(json.loads(PICTURES.read_text())[name], np.float64)
    found = np.array(coloured[name], np.float64)
    assert_allclose(found, cells, rtol=0, atol=1)
    shape = (CELLS * CELLS, 3)
    assert_allclose(found.reshape(shape).mean(0), cells.reshape(shape).mean(0), rtol=0, atol=0.5)


@pytest.mark.slow
def test_training_has_the_recorded_losses(tmp_path):
    # Versions of JAX round differently, which amounts to 3e-5 after twenty steps.
    assert_allclose(losses(tmp_path), json.loads(LOSSES.read_text()), rtol=1e-4)


if __name__ == "__main__":
    import tempfile

    sys.path.insert(0, str(FOLDER.parent))
    import conftest  # noqa: F401  (the environment of the tests)

    if sys.argv[1:] == ["losses"]:
        with tempfile.TemporaryDirectory() as folder:
            LOSSES.write_text(json.dumps(losses(Path(folder)), indent=1) + "\n")
    else:
        lines = (f"{json.dumps(name)}: {json.dumps(x)}" for name, x in pictures().items())
        PICTURES.write_text("{\n" + ",\n".join(lines) + "\n}\n")
