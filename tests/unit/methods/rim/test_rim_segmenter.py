import subprocess
import sys

import numpy as np
import pytest
import torch

from lexiseg.core.errors import DatasetError, VocabularyError
from lexiseg.methods.rim.explanation import explain, save_explanation
from rim_toys import COLOURS, colour_bank, colour_rim, quadrants

WORDS = ["red", "green", "blue"]


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return colour_bank(tmp_path_factory.mktemp("banks") / "a.bank", [*COLOURS])


@pytest.mark.parametrize("ranking", ["plackett_luce", "top_one", "cosine"])
def test_perfect_regions_of_known_colours_are_all_right(bank, ranking):
    image, masks = quadrants()
    nested = masks[:1].copy()
    nested[0, 0] = False
    model = colour_rim(bank, np.concatenate([masks, nested]), ranking=ranking)
    result = model.segment(image, ["red", "green", "blue", "grey"])
    for label, mask in enumerate(masks):
        assert (result.label_map[mask] == label).all()


def test_a_threshold_makes_what_resembles_no_class_background(bank):
    image, masks = quadrants()
    result = colour_rim(bank, masks).segment(image, WORDS, background="threshold", threshold=0.9)
    assert result.vocabulary.names[3] == "background"
    assert (result.label_map[masks[3]] == 3).all()
    assert [result.label_map[mask][0] for mask in masks[:3]] == [0, 1, 2]


def test_the_word_background_stands_for_the_stuff_words_the_bank_has(bank):
    image, masks = quadrants()
    model = colour_rim(bank, masks, background_words=("grey", "mauve"))
    result = model.segment(image, ["background", *WORDS])
    assert [result.label_map[mask][0] for mask in masks] == [1, 2, 3, 0]


def test_the_word_background_can_stand_for_what_surrounded_the_objects(tmp_path):
    bank = colour_bank(tmp_path / "a.bank", WORDS, has_scene=True)
    image, masks = quadrants()
    image[masks[3]] = 250
    model = colour_rim(bank, masks, background="negatives")
    result = model.segment(image, ["background", *WORDS])
    assert [result.label_map[mask][0] for mask in masks] == [1, 2, 3, 0]


def test_pixels_outside_all_regions_take_their_own_patch_or_background(bank):
    image, masks = quadrants()
    plain = colour_rim(bank, masks[:1]).segment(image, WORDS)
    assert (plain.label_map[2:6, 10:14] == 1).all()
    with_background = colour_rim(bank, masks[:1]).segment(image, WORDS, background="name")
    assert (with_background.label_map[masks[0]] == 0).all()
    assert (with_background.label_map[~masks[0]] == 3).all()
    cut = colour_rim(bank, masks[:1]).segment(image, WORDS, background="threshold", threshold=0.5)
    assert (cut.label_map[~masks[0]] == 3).all()


def test_a_image_without_any_mask_is_labelled_patch_by_patch(bank):
    image, _ = quadrants()
    model = colour_rim(bank, None)
    result = model.segment(image, WORDS)
    assert (result.label_map[2:6, 2:6] == 0).all()
    assert explain(model, image, WORDS).regions == ()


def test_the_smaller_of_two_regions_is_on_top(bank):
    image, masks = quadrants()
    whole = np.ones((1, 16, 16), bool)
    model = colour_rim(bank, np.concatenate([masks[:2], whole]), fusing="none")
    result = model.segment(image, WORDS)
    assert (result.label_map[masks[0]] == 0).all()
    assert (result.label_map[masks[1]] == 1).all()
    # With fusing the whole image swallows both (stated rule).
    fused = colour_rim(bank, np.concatenate([masks[:2], whole])).segment(image, WORDS)
    assert len(np.unique(fused.label_map)) == 1


def test_windows_give_the_same_region_features_as_the_whole_where_the_encoder_is_local(bank):
    image, masks = quadrants()
    model = colour_rim(bank, masks)
    whole = model.region_features(model.encode(image))
    cut = model.region_features(model.encode(image, window=8, window_stride=8))
    torch.testing.assert_close(cut, whole, atol=1e-4, rtol=0)


def test_another_encoder_than_the_banks_is_refused(bank):
    with pytest.raises(DatasetError, match=r"features of colours at 16 pixels \(c0ffee\).*in use \(beef\)"):
        colour_rim(bank, None, fingerprint="beef")


def test_words_without_references_are_refused_or_left_out(bank):
    image, masks = quadrants()
    with pytest.raises(VocabularyError, match=r"none for mauve, teal.*--words \"mauve, teal\""):
        colour_rim(bank, masks).segment(image, ["red", "mauve", "teal"])
    result = colour_rim(bank, masks, missing_words="leave_out").segment(image, ["mauve", "red", "green"])
    assert 0 not in result.label_map
    with pytest.raises(VocabularyError, match="none for mauve"):
        colour_rim(bank, masks, missing_words="leave_out").segment(image, ["mauve"])


def test_a_synonym_with_references_is_enough(bank):
    image, masks = quadrants()
    result = colour_rim(bank, masks).segment(image, {"crimson": ["Red"], "green": [], "blue": []})
    assert (result.label_map[masks[0]] == 0).all()


def test_one_class_takes_everything(bank):
    image, masks = quadrants()
    assert (colour_rim(bank, masks).segment(image, "red").label_map == 0).all()


def test_a_region_is_explained_by_its_ranking_and_the_nearest_references(bank, tmp_path):
    image, masks = quadrants()
    model = colour_rim(bank, masks)
    explanation = explain(model, image, ["red", "green", "blue", "grey"])
    assert {region.label for region in explanation.regions} == {"red", "green", "blue", "grey"}
    first = explanation.regions[0]
    assert first.label == "red"
    assert first.runner_up != "red"
    assert [each.class_name for each in first.nearest] == ["red"] * 3
    assert first.nearest[0].cosine >= first.nearest[1].cosine
    divergences = [each.divergence for each in first.ranking]
    assert divergences == sorted(divergences)
    save_explanation(explanation, tmp_path / "a.html", "<a> & b")
    text = (tmp_path / "a.html").read_text()
    assert "&lt;a&gt; &amp; b" in text
    assert text.count("<section>") == 4
    assert text.count("<figure>") == 12
    assert "http" not in text


def test_a_reference_may_count_as_full_for_its_own_class(bank):
    image, masks = quadrants()
    model = colour_rim(bank, masks, own_score="itself", standardise=False)
    chosen = model.competitors([[word] for word in WORDS])
    assert [float(chosen.profiles[k, 0, k]) for k in range(3)] == [1.0] * 3
    result = model.segment(image, WORDS)
    assert [result.label_map[mask][0] for mask in masks[:3]] == [0, 1, 2]
    matched, _ = model.match(chosen.references[1, :1], chosen)
    assert int(matched.labels[0]) == 1


def test_explaining_agrees_with_segmenting(bank):
    image, masks = quadrants()
    model = colour_rim(bank, masks)
    names = model.segment(image, WORDS).vocabulary.names
    result = model.segment(image, WORDS)
    for region in explain(model, image, WORDS).regions:
        assert names[result.label_map[region.mask][0]] == region.label


def test_unknown_choices_are_refused_where_no_checker_runs():
    code = "from lexiseg.methods.rim.settings import RIMSettings; RIMSettings(ranking='best')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "found ranking = 'best'; expected one of: plackett_luce, top_one, cosine" in done.stderr
