"""Six sample folders of real photographs, one for each kind of labels: what start prints runs to a validation score."""

import json
import shlex
import sys
from pathlib import Path

import pytest

from lexiseg.cli import main as run_command
from lexiseg.data.folder import FolderDataset

ROOT = Path(__file__).parents[2]
SOURCE = ROOT.parent / "shared/data/coco-things-free"
sys.path.insert(0, str(ROOT / "scripts"))
try:
    from make_sample_folders import REGIMES, drawn, write_folder
finally:
    sys.path.remove(str(ROOT / "scripts"))


def main(arguments):
    with pytest.raises(SystemExit) as stopped:
        run_command(arguments)
    assert stopped.value.code == 0


@pytest.mark.exhaustive
@pytest.mark.skipif(not SOURCE.is_dir(), reason="coco-things-free is not beside the project")
@pytest.mark.parametrize("regime", REGIMES)
def test_the_commands_of_start_end_with_a_validation_score(tmp_path, monkeypatch, capsys, regime):
    monkeypatch.chdir(tmp_path)
    source = FolderDataset(SOURCE, labels="only")
    write_folder(source, tmp_path / regime, regime, drawn(source, 6))
    main(["start", regime, "--json", "start.json"])
    advice = json.loads((tmp_path / "start.json").read_text())
    *commands, scoring = (
        *advice["best"]["commands"],
        *(way["commands"][0] for way in advice["others"] if "floor" in way["regime"]),
    )
    for command in commands:
        main(shlex.split(command)[1:])
    said = capsys.readouterr().out
    if regime == "names":  # nothing is learnt: what is there is scored
        main([*shlex.split(scoring)[1:], "--set", "head=none", "--json", "score.json"])
        assert json.loads((tmp_path / "score.json").read_text())["num_images"] == 2
    else:
        assert "validation: mean_iou" in said
