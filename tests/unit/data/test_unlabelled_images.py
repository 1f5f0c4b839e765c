import numpy as np
import pytest
from PIL import Image

from lexiseg.core.errors import DatasetError
from lexiseg.data.unlabelled_images import UnlabelledImages


def save(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(folder / name)


@pytest.mark.parametrize("inner", ["", "images"])
def test_images_of_a_folder_in_the_order_of_their_names(tmp_path, inner):
    save(tmp_path / inner, "b.png", "a.jpg")
    (tmp_path / inner / "notes.txt").write_text("not an image")
    images = UnlabelledImages(tmp_path)
    assert images.stems == ["a", "b"]
    assert images[1].image.shape == (4, 6, 3)
    assert images[1].label_map is None
    before = images.fingerprint()
    save(tmp_path / inner, "c.png")
    assert UnlabelledImages(tmp_path).fingerprint() != before


def test_nothing_to_read_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        UnlabelledImages(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("not an image")
    with pytest.raises(DatasetError, match="no image in "):
        UnlabelledImages(tmp_path)
