import numpy as np
import pytest
from PIL import Image

from lexiseg.core.errors import DatasetError
from lexiseg.data.folder_lists import read_class_folders


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)


def test_folders_are_classes_in_order_of_their_names(tmp_path):
    for name in ("hot_dog/b.png", "hot_dog/a.jpg", "cat/deep/1.PNG"):
        write(tmp_path / name)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    names, files = read_class_folders(tmp_path)
    assert names == ("cat", "hot dog")
    assert [(file.name, label) for file, label in files] == [("1.PNG", 0), ("a.jpg", 1), ("b.png", 1)]


@pytest.mark.parametrize(
    ("folder", "found"), [("", "no folder with images in it"), ("absent", "no such folder")]
)
def test_a_folder_without_classes_is_refused(tmp_path, folder, found):
    write(tmp_path / "loose.png")
    with pytest.raises(DatasetError, match=f"found {found}; expected one folder a class"):
        read_class_folders(tmp_path / folder)
