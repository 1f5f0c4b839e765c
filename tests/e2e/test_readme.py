"""The README's Python runs and prints what it says."""

import re
import runpy
import shutil
from pathlib import Path

from skimage import data_dir

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_five_lines_print_what_they_say(tmp_path, monkeypatch, capsys):
    block = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert block is not None
    code, _, printed = block.group(1).rstrip().rpartition("\n# ")
    shutil.copy(Path(data_dir) / "coffee.png", tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip() == printed


def test_every_image_and_page_it_shows_exists():
    root = Path(__file__).parents[2]
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (root / target).exists(), target


def test_a_package_index_gets_no_link_that_leads_nowhere():
    """Nothing lies beside the description there: pages are named, pictures of ours are left out."""
    told = runpy.run_path(str(ROOT / "setup.py"))["readme_of_index"](README)
    assert re.findall(r"\]\((?!https?://|#)", told) == []
    assert "First steps (`docs/first-steps.md`)" in told
    assert told.count("```") == README.count("```")
