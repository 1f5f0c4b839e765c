"""``lexiseg video``, as typed."""

import json

import numpy as np
import pytest
from PIL import Image

from lexiseg.cli import main
from lexiseg.data.videos import read_video
from lexiseg.runs.load import MODELS
from toy_segmenter import registered
from written_videos import picture, write_video

IMAGES = [picture(4 * step) for step in range(5)]
TIMES = (0, 0.1, 0.15, 0.5, 0.55)


@pytest.fixture(autouse=True)
def colours(monkeypatch, tmp_path):
    monkeypatch.setitem(MODELS, "colours", registered())
    monkeypatch.chdir(tmp_path)


def video(capsys, *arguments):
    try:
        main(["video", *arguments, "--words", "red, blue", "--model", "colours", "--out", "found"])
        code = 0
    except SystemExit as stopped:
        code = stopped.code or 0
    return code, capsys.readouterr()


def test_frames_and_overlay_are_written(tmp_path, capsys):
    write_video(tmp_path / "in.mp4", IMAGES, TIMES)
    code, printed = video(capsys, "in.mp4")
    assert code == 0, printed.err
    assert "5 frames segmented" in printed.out
    overlay = list(read_video(tmp_path / "found/in.overlay.mp4"))
    assert [frame.seconds for frame in overlay] == pytest.approx(TIMES, abs=0.002)
    assert len({frame.image.shape for frame in overlay}) == 1
    facts = json.loads((tmp_path / "found/in.frames.json").read_text())
    assert [frame["frame"] for frame in facts["frames"]] == list(range(5))
    for frame in facts["frames"]:
        assert frame["shares"]["red"] == pytest.approx(256 / (48 * 64), rel=0.4)
    with Image.open(tmp_path / "found/in/000002.labels.png") as file:
        labels = np.asarray(file)
    assert labels[16, 16] == 0
    assert labels[40, 60] == 1
    code, printed = video(capsys, "in.mp4", "--smooth", "0.5")
    assert code == 2
    assert "another request" in printed.err


def test_every_second_frame_smoothed_without_results_of_frames(tmp_path, capsys):
    write_video(tmp_path / "in.mkv", IMAGES)
    code, _ = video(capsys, "in.mkv", "--every", "2", "--most", "2", "--smooth", "0.5", "--overlay-only")
    assert code == 0
    facts = json.loads((tmp_path / "found/in.frames.json").read_text())
    assert [frame["frame"] for frame in facts["frames"]] == [0, 2]
    assert facts["settings"]["smooth"] == 0.5
    assert not (tmp_path / "found/in").exists()


@pytest.mark.parametrize(
    "arguments", [["absent.mp4"], ["bad.mp4"], ["7"], ["in.mp4", "--every", "0"], ["in.mp4", "--smooth", "1"]]
)
def test_what_cannot_be_done_is_told(tmp_path, capsys, arguments):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    write_video(tmp_path / "in.mp4", IMAGES)
    code, printed = video(capsys, *arguments)
    assert code == 2
    assert "to do" in printed.err
    assert not list(tmp_path.glob("found/*.mp4"))


def test_a_camera_ends_well_with_ctrl_c(tmp_path, capsys, monkeypatch):
    path = write_video(tmp_path / "in.mp4", IMAGES)

    def camera(source, every):
        assert source == 0
        yield from list(read_video(path))[:3]
        raise KeyboardInterrupt

    monkeypatch.setattr("lexiseg.data.videos.read_video", camera)
    code, printed = video(capsys, "0")
    assert code == 0
    assert "3 frames segmented" in printed.out
    monkeypatch.undo()
    assert len(list(read_video(tmp_path / "found/camera-0.overlay.mp4"))) == 3
