"""Runs the notebook of the documentation as a reader would."""

from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def cells():
    """Runs all cells of the notebook in order; returns its code cells."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(DOCS / "first_steps.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # stored without outputs
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def result_of(cell):
    """Returns the result of a cell's last line: a value as text, a picture as PNG."""
    (result,) = [output for output in cell.outputs if output.output_type == "execute_result"]
    return result.data


@pytest.mark.slow
def test_the_notebook_colours_trains_and_restores_with_plain_orbax(cells):
    colouring, _, run_files, losses, restored, own_colouring = cells
    assert "image/png" in result_of(colouring) and "image/png" in result_of(own_colouring)
    assert "checkpoints" in result_of(run_files)["text/plain"]
    losses = eval(result_of(losses)["text/plain"])
    assert list(losses) == [10, 20, 30, 40, 50] and losses[50] < losses[10]
    step, parameters, sizes = eval(result_of(restored)["text/plain"])
    assert step == 50 and parameters == sum(sizes.values())
    assert {"encoder", "u_logits", "v_logits"} <= set(sizes)
