"""The notebooks run from the first cell to the last, and what is kept of them is fit to be read anywhere."""

import json
import re
import sys

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook

from notebooks.run import NOTEBOOKS, execute

every_notebook = pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)


def outputs_of(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def count_plots(notebook):
    return sum("image/png" in output.get("data", {}) for output in outputs_of(notebook))


def test_there_is_one_for_profiles_and_one_for_uplift():
    assert [file.stem for file in NOTEBOOKS] == ["01-profiles", "02-uplift"]


@every_notebook
def test_it_runs_and_shows_the_plots_that_are_kept(file):
    kept = nbformat.read(file, as_version=4)
    ran = execute(file)
    assert count_plots(ran) == count_plots(kept) > 0
    assert [output.text for output in outputs_of(ran) if output.output_type == "stream"] == []


def test_a_failing_cell_stops_the_run_and_tells_which_python_ran_it(tmp_path):
    file = tmp_path / "faulty.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("import sys\nraise ValueError(sys.executable)")]), file)
    with pytest.raises(CellExecutionError, match=re.escape(sys.executable)):
        execute(file)


@every_notebook
def test_its_cells_were_kept_as_they_ran_in_order(file):
    cells = [cell for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


@every_notebook
def test_what_is_kept_is_small_and_tells_nothing_of_a_machine(file):
    notebook = nbformat.read(file, as_version=4)
    words = json.dumps(
        [output for output in outputs_of(notebook) if "image/png" not in output.get("data", {})]
    )
    assert file.stat().st_size < 600_000
    assert not re.search(r"/(?:home|root|tmp|var|work|Users|opt)/|[A-Z]:\\\\", words)
    assert notebook.metadata.kernelspec.display_name == "Python 3"
    assert all(not cell.metadata for cell in notebook.cells)
