"""Videos of any rhythm, rotation and state are read frame by frame, and written with their times."""

import numpy as np
import pytest

from lexiseg.core.errors import ImageError, InputError
from lexiseg.data.videos import read_video, written_video
from written_videos import picture, write_video

IMAGES = [picture(4 * step) for step in range(6)]
UNEVEN = (0, 0.04, 0.1, 0.5, 0.52, 2.0)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.mov"])
def test_frames_come_in_order_with_their_pixels(tmp_path, name):
    found = list(
        read_video(write_video(tmp_path / name, IMAGES, codec="libx264" if name != "a.avi" else "mpeg4"))
    )
    assert [frame.index for frame in found] == list(range(6))
    for frame, image in zip(found, IMAGES, strict=True):
        assert np.abs(frame.image.astype(int) - image).mean() < 6
        assert frame.seconds == pytest.approx(frame.index / 25, abs=0.002)


def test_times_of_a_varying_rate_are_kept_in_and_out(tmp_path):
    found = list(read_video(write_video(tmp_path / "a.mp4", IMAGES, UNEVEN)))
    assert [frame.seconds for frame in found] == pytest.approx(UNEVEN, abs=0.002)
    with written_video(tmp_path / "b.mp4") as writer:
        for frame in found:
            writer.write(frame.image[:-1, :-1], frame.seconds)
    again = list(read_video(tmp_path / "b.mp4"))
    assert [frame.seconds for frame in again] == pytest.approx(UNEVEN, abs=0.002)
    assert again[0].image.shape == (48, 64, 3), "odd sides are filled up"


def test_every_third_frame(tmp_path):
    assert [frame.index for frame in read_video(write_video(tmp_path / "a.mp4", IMAGES), every=3)] == [0, 3]
    with pytest.raises(InputError):
        next(read_video(tmp_path / "a.mp4", every=0))


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotated_frames_are_turned_upright(tmp_path, rotation):
    """A telephone that is held otherwise writes lying frames and how to turn them."""
    upright = picture(20)
    lying = np.ascontiguousarray(np.rot90(upright, -rotation // 90))
    found = next(read_video(write_video(tmp_path / "a.mp4", [lying] * 2, rotation=rotation))).image
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).mean() < 6


def cut_mkv(path):
    data = write_video(path.with_suffix(".mkv"), IMAGES * 4).read_bytes()
    path.write_bytes(data[: len(data) // 2])


def sound_only(path):
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def listing(path):
    write_video(path.parent / "other.mp4", IMAGES)
    path.write_text("ffconcat version 1.0\nfile other.mp4\n")


def playlist(path):
    path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://example.org/a.ts\n#EXT-X-ENDLIST\n")


BROKEN = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not a video"),
    "cut mp4": lambda path: path.write_bytes(write_video(path.with_name("b.mp4"), IMAGES).read_bytes()[:900]),
    "sound only": sound_only,
    "a list of other files": listing,
    "a list of addresses": playlist,
    "absent": lambda path: None,
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_whole_video_is_told(tmp_path, kind):
    BROKEN[kind](tmp_path / "a.mp4")
    with pytest.raises(ImageError) as told:
        list(read_video(tmp_path / "a.mp4"))
    assert "a.mp4" in told.value.doing


def test_a_video_that_is_damaged_in_the_middle_gives_what_is_before(tmp_path):
    path = write_video(tmp_path / "a.mp4", [picture(step % 40) for step in range(120)])
    data = bytearray(path.read_bytes())
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[start + 3 * (end - start) // 4 : end] = b"\xff" * (end - (start + 3 * (end - start) // 4))
    path.write_bytes(data)
    found = []
    with pytest.raises(ImageError, match=r"a\.mp4"):
        found.extend(read_video(path))
    assert 0 < len(found) < 120


def test_frames_of_another_size_are_not_written(tmp_path):
    with written_video(tmp_path / "a.mp4") as writer:
        writer.write(picture(0), 0.0)
        with pytest.raises(ImageError, match="one size"):
            writer.write(picture(0, (24, 64)), 1.0)
    assert len(list(read_video(tmp_path / "a.mp4"))) == 1
    with pytest.raises(RuntimeError), written_video(tmp_path / "b.mp4"):
        raise RuntimeError
    assert not (tmp_path / "b.mp4").exists()


def test_a_camera_that_is_not_there(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(ImageError, match="camera 77"):
        next(read_video(77))
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(InputError, match="cameras"):
        next(read_video(0))
