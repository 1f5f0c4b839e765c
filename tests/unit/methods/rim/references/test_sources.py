import numpy as np
import pytest
from PIL import Image

from lexiseg.core.errors import DatasetError
from lexiseg.methods.rim.references.cutouts import BACKDROP, CutoutSource
from lexiseg.methods.rim.references.own_folder import FolderSource
from lexiseg.methods.rim.references.sources import ReferenceImage, RejectedImage
from lexiseg.ops.salient_object import salient_object


def save_cutout(path, colour, *, side=20, opaque=slice(5, 15)):
    pixels = np.zeros((side, side, 4), np.uint8)
    pixels[..., :3] = colour
    pixels[opaque, opaque, 3] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_cutouts_are_found_by_name_first_then_by_further_names(tmp_path):
    for name in ("a", "b", "c"):
        save_cutout(tmp_path / "cutouts" / f"{name}.png", (200, 0, 0))
    (tmp_path / "names.tsv").write_text(
        "file\tname\tkeywords\na.png\tcat face\tcat, pet\nb.png\tCat\tanimal\nc.png\tdog\tpet\n"
    )
    source = CutoutSource(tmp_path)
    assert [each.origin for each in source.draw("cat", 5)] == ["b.png", "a.png"]
    assert [each.origin for each in source.draw("pet", 1)] == ["a.png"]
    assert list(source.draw("horse", 5)) == []


def test_a_cutout_lies_on_grey_and_its_alpha_is_the_mask(tmp_path):
    save_cutout(tmp_path / "hot_dog.png", (200, 10, 10))
    (image,) = CutoutSource(tmp_path).draw("hot dog", 1)
    assert image.mask.sum() == 100
    assert image.image[0, 0].tolist() == [BACKDROP] * 3
    assert image.image[10, 10].tolist() == [200, 10, 10]
    assert not image.has_scene


def test_a_cutout_without_anything_see_through_is_rejected(tmp_path):
    save_cutout(tmp_path / "wall.png", (1, 2, 3), opaque=slice(0, 20))
    (drawn,) = CutoutSource(tmp_path).draw("wall", 1)
    assert isinstance(drawn, RejectedImage)
    assert "more than 95%" in drawn.reason


def test_content_changes_with_the_images(tmp_path):
    save_cutout(tmp_path / "cat.png", (200, 0, 0))
    before = CutoutSource(tmp_path).content("cat", 5)
    assert CutoutSource(tmp_path).content("cat", 5) == before
    save_cutout(tmp_path / "cat.png", (0, 0, 200))
    assert CutoutSource(tmp_path).content("cat", 5) != before


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        CutoutSource(tmp_path / "none")
    with pytest.raises(DatasetError, match="no folder in it"):
        FolderSource(tmp_path, salient_object, found_by="contrast")


def scene(path, *, mask=None, size=(40, 60)):
    image = np.full((*size, 3), (90, 160, 90), np.uint8)
    image[10:30, 20:40] = (220, 40, 40)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    if mask is not None:
        (path.parent / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(path.parent / "masks" / f"{path.stem}.png")


def test_own_images_use_their_mask_or_find_the_object(tmp_path):
    given = np.zeros((40, 60), np.uint8)
    given[:20, :20] = 255
    scene(tmp_path / "hot_dog" / "a.png", mask=given)
    scene(tmp_path / "hot_dog" / "b.png")
    source = FolderSource(tmp_path, salient_object, found_by="contrast")
    first, second = source.draw("Hot Dog", 5)
    assert isinstance(first, ReferenceImage)
    assert first.mask.sum() == 400
    truth = np.zeros((40, 60), bool)
    truth[10:30, 20:40] = True
    assert (second.mask & truth).sum() / (second.mask | truth).sum() > 0.9


def test_the_mask_channel_of_an_own_image_is_enough(tmp_path):
    save_cutout(tmp_path / "cat" / "a.png", (200, 10, 10))
    source = FolderSource(tmp_path, lambda image: pytest.fail("there is a mask"), found_by="nothing")
    (photo,) = source.draw("cat", 5)
    assert photo.mask.sum() == 100
    assert photo.image[0, 0].tolist() == [BACKDROP] * 3
    assert not photo.has_scene


@pytest.mark.parametrize(
    ("mode", "objects", "rest"),
    [
        ("L", 255, 0),
        ("RGB", (255, 0, 0), (0, 0, 0)),
        ("RGBA", (0, 0, 0, 255), (0, 0, 0, 0)),
        ("RGBA", (0, 255, 0, 255), (0, 0, 0, 255)),
        ("LA", (0, 255), (0, 0)),
        ("LA", (255, 255), (0, 255)),
    ],
)
def test_a_mask_file_may_have_its_mask_in_any_channel(tmp_path, mode, objects, rest):
    scene(tmp_path / "cat" / "a.png")
    (tmp_path / "cat" / "masks").mkdir()
    mask = Image.new(mode, (60, 40), rest)
    mask.paste(objects, (0, 0, 20, 20))
    mask.save(tmp_path / "cat" / "masks" / "a.png")
    (image,) = FolderSource(tmp_path, salient_object, found_by="contrast").draw("cat", 1)
    assert image.mask.sum() == 400
    assert image.has_scene


def test_a_mask_of_another_size_costs_only_its_image(tmp_path):
    scene(tmp_path / "cat" / "a.png", mask=np.full((4, 4), 255, np.uint8))
    scene(tmp_path / "cat" / "b.png")
    first, second = FolderSource(tmp_path, salient_object, found_by="contrast").draw("cat", 2)
    assert first == RejectedImage(
        origin="cat/a.png", reason="4 × 4 pixels; expected the image's 60 × 40", is_damaged=True
    )
    assert isinstance(second, ReferenceImage)


def test_a_image_without_contrast_has_no_object(tmp_path):
    (tmp_path / "fog").mkdir()
    Image.fromarray(np.full((30, 30, 3), 99, np.uint8)).save(tmp_path / "fog" / "a.png")
    (drawn,) = FolderSource(tmp_path, salient_object, found_by="contrast").draw("fog", 1)
    assert isinstance(drawn, RejectedImage)
    assert "less than 1%" in drawn.reason


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (200, 3)])
def test_tiny_images_do_not_break_the_search_for_an_object(size):
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    assert salient_object(image).shape == size
