import numpy as np
import pytest

from lexiseg.core.errors import CheckpointError
from lexiseg.recipes.mini import HEAD, MINI_WEIGHTS, build_mini
from lexiseg.runs.load import load

images = pytest.importorskip("skimage.data", reason='needs pip install "lexiseg[demo]"')
pytestmark = pytest.mark.skipif(
    any(part.state() != "intact" for part in MINI_WEIGHTS), reason='needs pip install "lexiseg[mini]"'
)


@pytest.fixture(scope="module")
def mini():
    return build_mini().eval()


def shares(model, image, words: list[str]) -> dict[str, float]:
    labels = model.segment(image, words).label_map
    return {word: float((labels == label).mean()) for label, word in enumerate(words)}


def test_the_cat_is_a_cat_and_not_the_background(mini):
    found = shares(mini, images.chelsea(), ["cat", "dog", "background"])
    assert found["cat"] > 0.6
    assert found["background"] > 0.05
    assert found["dog"] == 0


def test_the_astronaut_is_a_person_before_a_wall(mini):
    found = shares(mini, images.astronaut(), ["person", "wall", "giraffe"])
    assert found["person"] > 0.5
    assert found["wall"] > 0.05
    assert found["giraffe"] == 0


def test_sky_is_above_the_rocket(mini):
    labels = mini.segment(images.rocket(), ["rocket", "sky"]).label_map
    height, width = labels.shape
    assert (labels[: height // 4] == 1).mean() > 0.6
    assert labels[int(0.6 * height), width // 2] == 0


def test_the_record_names_method_and_weights(mini):
    recorded = mini.describe(["cat"])["settings"]
    assert recorded["model"] == "mini"
    assert recorded["method"]["image_weights"] == MINI_WEIGHTS[0].sha256
    assert recorded["method"]["image_weight"] == 1.5


def test_people_are_told_that_it_is_a_floor_and_what_is_stronger(mini):
    assert mini.notice.startswith("mini is a floor")
    assert "--model openai/clip-vit-large-patch14" in mini.notice


def test_the_head_is_in_the_wheel_and_named_in_the_record(mini):
    assert HEAD.state() == "intact"
    assert mini.method_settings["head_weights"] == HEAD.sha256
    assert len(mini.head.names) == 129
    listed = HEAD.path().with_name("mini_head_ATTRIBUTION.tsv").read_text().splitlines()
    licences = {line.split("\t")[1] for line in listed if not line.startswith("#")}
    assert licences == {"Attribution License"}


@pytest.fixture(scope="module")
def without_head():
    return load("mini", device="cpu", method_settings={"head": "none"})


def test_the_head_tells_a_cup_from_the_table_it_stands_on(mini, without_head):
    found = shares(mini, images.coffee(), ["cup", "table"])
    assert 0.15 < found["cup"] < 0.5
    assert shares(without_head, images.coffee(), ["cup", "table"])["cup"] > 0.9


def test_without_the_head_and_without_words_it_knows_all_is_as_before(mini, without_head):
    assert "head_weights" not in without_head.method_settings
    words = "dress, jeans, rocket"  # no name of the head is among them
    plain, with_it = (each.segment(images.astronaut(), words) for each in (without_head, mini))
    assert np.array_equal(plain.score_map, with_it.score_map)
    assert np.array_equal(plain.label_map, with_it.label_map)


def test_an_altered_head_is_refused(tmp_path, monkeypatch):
    (tmp_path / "models/trained").mkdir(parents=True)
    (tmp_path / HEAD.file).write_bytes(b"other")
    monkeypatch.setattr(type(HEAD), "path", lambda self: tmp_path / self.file)
    with pytest.raises(CheckpointError, match="published weights of lexiseg"):
        HEAD.verified_path()
