"""The notebooks run from top to bottom, and lie in the repository without what a run printed."""

import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples/notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def test_there_are_three_and_the_start_page_names_them():
    assert len(NOTEBOOKS) == 3
    page = (FOLDER.parents[1] / "docs/start.md").read_text()
    assert all(notebook.name in page for notebook in NOTEBOOKS)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_no_results(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)


@pytest.mark.exhaustive
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook, tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parents[1] / "src"))
    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "examples/notebooks"
    place.mkdir(parents=True)
    (tmp_path / "examples/photographs").symlink_to(FOLDER.parent / "photographs")
    content = nbformat.read(notebook, as_version=4)
    nbformat.validate(content)
    nbclient.NotebookClient(content, timeout=300, resources={"metadata": {"path": str(place)}}).execute()
    shown = [
        data
        for cell in content.cells
        for output in cell.get("outputs", ())
        for data in output.get("data", {})
    ]
    assert "image/png" in shown or "text/html" in shown
