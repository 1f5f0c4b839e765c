import pytest

from lexiseg.recipes.mini import MINI_WEIGHTS, build_mini

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
    assert "--model openai/clip-vit-base-patch16" in mini.notice
