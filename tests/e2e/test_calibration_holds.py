"""A calibrated threshold gives, when predicted with, the score that was promised: also for methods that decide otherwise."""

import json
import re

import numpy as np
import pytest

from lexiseg.cli import main


def run(capsys, *arguments: object) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert stopped.value.code in (0, None), said.err
    return said.out


@pytest.mark.exhaustive
def test_a_threshold_calibrated_on_a_store_of_simseg_gives_what_it_promised(tmp_path, capsys):
    data, model, kept = tmp_path / "data", tmp_path / "run", tmp_path / "kept"
    run(capsys, "scenes", "make", data, "--preset", "localisation", "--num", 16)
    (data / "train.txt").write_text(
        "\n".join(sorted(path.stem for path in (data / "images").iterdir())) + "\n"
    )
    run(capsys, "train", "simseg/tiny", "--out", model, "--run.num-steps", 2)
    images = ["--data", data, "--split", "train"]
    run(capsys, "predict", model, *images, "--out", tmp_path / "by-name")
    with pytest.raises(SystemExit):
        main(["calibrate", str(tmp_path / "by-name"), "--protocol", "mmseg"])
    assert "--background threshold" in capsys.readouterr().err
    run(capsys, "predict", model, *images, "--out", kept, "--background", "threshold", "--threshold", -1)
    said = run(capsys, "calibrate", kept, "--protocol", "mmseg")
    threshold, promised = re.search(r"--threshold (\S+)", said), re.search(r"([\d.]+) ?%", said)
    assert threshold, said
    assert promised, said
    found = tmp_path / "found"
    run(
        capsys,
        "predict",
        model,
        *images,
        "--out",
        found,
        "--background",
        "threshold",
        "--threshold",
        threshold[1],
    )
    run(capsys, "score", found, "--protocol", "mmseg", "--json", tmp_path / "score.json", "--resamples", 10)
    score = json.loads((tmp_path / "score.json").read_text())["protocols"][0]["score"]
    assert 100 * score == pytest.approx(float(promised[1]), abs=0.02)
    assert np.isfinite(score)
