"""What a person may hand to ``segment``, and what a result hands back."""

import importlib.util
import io
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import lexiseg
from lexiseg.core.errors import ImageError, InputError, MissingPackageError, UnknownNameError
from lexiseg.core.segmentation import Segmentation
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.runs.evaluate import evaluate
from lexiseg.runs.load import MODELS, load
from toy_segmenter import ColourSegmenter, registered

WORDS = "red, black"


@pytest.fixture
def image():
    pixels = np.zeros((32, 40, 3), np.uint8)
    pixels[:, :20] = (255, 0, 0)
    return pixels


@pytest.fixture
def encoded_file(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    file.seek(0)
    return file


def test_bytes_and_open_files_are_images(image, encoded_file):
    model = ColourSegmenter()
    wanted = model.segment(image, WORDS).label_map
    for source in (encoded_file, encoded_file.getvalue()):
        np.testing.assert_array_equal(model.segment(source, WORDS).label_map, wanted)
        np.testing.assert_array_equal(model.segment([source], WORDS)[0].label_map, wanted)
        if hasattr(source, "seek"):
            source.seek(0)
    with pytest.raises(ImageError, match="no image decoder recognises"):
        model.segment(b"no image", WORDS)


def test_an_iterator_is_worked_on_when_results_are_asked_for(image):
    model = ColourSegmenter()
    asked = []
    results = model.segment((asked.append(number) or image for number in range(5)), WORDS, batch_size=2)
    assert (asked, model.encoded_batches) == ([], [])
    next(results)
    assert (asked, model.encoded_batches) == ([0, 1], [2])
    assert len(list(results)) == 4
    assert model.encoded_batches == [2, 2, 1]


@pytest.mark.parametrize("way", ["segment", "stream"])
@pytest.mark.parametrize("batch_size", [0, -1, "2", 1.5, None])
@pytest.mark.usefixtures("without_type_checker")
def test_a_batch_size_that_is_no_count_is_refused(image, way, batch_size):
    with pytest.raises(InputError, match=f"batch_size = {batch_size!r}"):
        list(getattr(ColourSegmenter(), way)([image], WORDS, batch_size=batch_size))


def test_a_model_can_be_called(image):
    model = ColourSegmenter()
    np.testing.assert_array_equal(model(image, WORDS).label_map, model.segment(image, WORDS).label_map)


@pytest.mark.parametrize(
    "words",
    [
        {0: "red", 1: "black"},
        {"1": "black", "0": "red"},
        {"red": [], "black": "dark"},
        {"red": ["1"], "black": ["7"]},
    ],
)
def test_words_may_be_id2label(words):
    assert Vocabulary.parse(words).names == ("red", "black")


def test_a_file_of_words_may_be_named_by_a_string(tmp_path):
    (tmp_path / "classes.txt").write_text("red\nblack\n")
    assert Vocabulary.from_file(str(tmp_path / "classes.txt")).names == ("red", "black")


def test_scores_of_all_classes_are_given_on_request(image):
    model = ColourSegmenter()
    assert model.segment(image, WORDS).class_scores is None
    result = model.segment(image, "red, green, black", all_scores=True)
    assert result.class_scores.shape == (3, 8, 10)
    assert set(result.class_scores.argmax(0).ravel()) == {0, 2}
    by_threshold = model.segment(image, WORDS, all_scores=True, background="threshold", threshold=-0.5)
    assert (by_threshold.class_scores[2] == np.float32(-0.5)).all()


def test_images_are_encoded_in_another_precision_and_nothing_else_is(image):
    model = ColourSegmenter()
    model.dtype = torch.bfloat16
    result = model.segment(image, WORDS)
    assert result.settings["dtype"] == "bfloat16"
    assert result.score_map.dtype == np.float32


def test_load_takes_a_precision_and_refuses_what_it_does_not_know(monkeypatch):
    monkeypatch.setitem(MODELS, "colours", registered())
    assert load("colours", dtype="bfloat16").dtype is torch.bfloat16
    for wrong in ("float16", "int8"):
        with pytest.raises(InputError, match=f"{wrong} on cpu"):
            load("colours", dtype=wrong, device="cpu")
    with pytest.raises(UnknownNameError, match=r"argument of load 'devise'.*Nearest: device"):
        load("colours", devise="cpu")


def test_a_persons_own_model_is_named_by_module_and_function(image):
    model = load("toy_segmenter:ColourSegmenter")
    assert model.segment(image, WORDS).settings["model"] == "toy_segmenter:ColourSegmenter"
    wrongs = {
        "toy_segmenter:nothing": "AttributeError",
        "toy_segmenter:registered": "gives a RegisteredModel",
    }
    for wrong, part in wrongs.items():
        with pytest.raises(InputError, match=part):
            load(wrong)


def test_evaluate_takes_the_string_of_a_model(tmp_path, image, monkeypatch):
    monkeypatch.setitem(MODELS, "colours", registered())
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    Image.fromarray(image).save(tmp_path / "images/a.png")
    Image.fromarray((image[..., 0] == 0).astype(np.uint8)).save(tmp_path / "labels/a.png")
    (tmp_path / "classes.txt").write_text("red\nblack\n")
    assert evaluate("colours", tmp_path).scores.mean_iou == pytest.approx(1)


def test_a_result_is_an_array_and_comes_back_from_its_files(tmp_path, image):
    Image.fromarray(image).save(tmp_path / "a.png")
    result = ColourSegmenter().segment(tmp_path / "a.png", {"red": ["ruby"], "black": [], "green": []})
    assert result.shape == (32, 40)
    np.testing.assert_array_equal(np.asarray(result), result.label_map)
    paths = result.save(tmp_path / "out")
    for path in (*paths.values(), tmp_path / "out" / "a"):
        again = Segmentation.load(path)
        assert again.to_json() | {"classes": []} == result.to_json() | {"classes": []}
        assert [share.name for share in again.shares()] == [share.name for share in result.shares()]
        assert again.vocabulary == result.vocabulary
        np.testing.assert_array_equal(again.image, image)
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputError, match=r"Segmentation\.load"):
        Segmentation.load(paths["json"])
    assert Segmentation.load(paths["json"], image=image).shape == (32, 40)
    Image.fromarray(result.label_map + 1).save(paths["labels"])
    with pytest.raises(InputError, match="was changed"):
        Segmentation.load(paths["json"], image=image)


def test_a_table_of_a_result(image, monkeypatch):
    result = ColourSegmenter().segment(image, WORDS)
    if importlib.util.find_spec("pandas"):
        assert list(result.to_dataframe()["name"]) == ["red", "black"]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPackageError, match="pip install pandas"):
        result.to_dataframe()


def test_the_version_is_an_attribute():
    assert lexiseg.__version__.count(".") >= 2
