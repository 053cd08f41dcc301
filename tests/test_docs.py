"""What the documentation shows, run as a reader would run it."""

from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def cells():
    """Those of code of the notebook, after a run from the first to the last."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(DOCS / "first_steps.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # a file of text alone
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell):
    """What the last line of a cell gives: a value as text, a picture as its PNG."""
    (result,) = [output for output in cell.outputs if output.output_type == "execute_result"]
    return result.data


@pytest.mark.slow
def test_the_notebook_colours_a_photograph_trains_and_restores_with_plain_orbax(cells):
    colouring, _, left, losses, restored, own = cells
    assert "image/png" in shown(colouring) and "image/png" in shown(own)
    assert "checkpoints" in shown(left)["text/plain"]
    losses = eval(shown(losses)["text/plain"])
    assert list(losses) == [10, 20, 30, 40, 50] and losses[50] < losses[10]
    step, parameters, sizes = eval(shown(restored)["text/plain"])
    assert step == 50 and parameters == sum(sizes.values())
    assert {"encoder", "u_logits", "v_logits"} <= set(sizes)
