import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError, VocabularyError
from lexiseg.methods.rim.references.bank import ClassReferences, ReferenceBank, save_bank
from lexiseg.methods.rim.references.build import build_bank
from lexiseg.methods.rim.settings import RIMSettings
from lexiseg.methods.rim.vocabulary_references import match_features, select_references
from lexiseg.ops.spherical_kmeans import spherical_kmeans
from rim_toys import (
    COLOURS,
    FACTS,
    SETTINGS,
    ColourEncoder,
    ColourSource,
    colour_bank,
    colour_rim,
    quadrants,
)

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
    with_background = colour_rim(bank, masks[:1], missing_words="leave_out").segment(
        image, WORDS, background="name"
    )
    assert (with_background.label_map[masks[0]] == 0).all()
    assert (with_background.label_map[~masks[0]] == 3).all()
    cut = colour_rim(bank, masks[:1]).segment(image, WORDS, background="threshold", threshold=0.5)
    assert (cut.label_map[~masks[0]] == 3).all()


def test_a_image_without_any_mask_is_labelled_patch_by_patch(bank):
    image, _ = quadrants()
    model = colour_rim(bank, None)
    result = model.segment(image, WORDS)
    assert (result.label_map[2:6, 2:6] == 0).all()
    explanation = model.explain(image, WORDS, (3, 3))
    assert explanation.region is None
    assert "in no region" in explanation.notes[0]
    assert (explanation.label, explanation.ranking[0].name) == ("red", "red")


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


def inside(mask: np.ndarray) -> tuple[int, int]:
    """Return a pixel ``(x, y)`` of a mask."""
    y, x = (int(each[0]) for each in mask.nonzero())
    return x, y


def test_a_region_is_explained_by_its_ranking_and_the_nearest_references(bank):
    image, masks = quadrants()
    model = colour_rim(bank, masks)
    words = ["red", "green", "blue", "grey"]
    for word, mask in zip(words, masks, strict=True):
        found = model.explain(image, words, inside(mask))
        assert (found.label, found.ranking[0].name) == (word, word)
        assert found.runner_up == found.ranking[1].name != word
        assert found.lower_wins
        assert found.margin == pytest.approx(found.ranking[1].value - found.ranking[0].value)
        assert [each.value for each in found.ranking] == sorted(each.value for each in found.ranking)
        assert (found.region == mask).all()
        references = [each for each in found.evidence if each.kind == "reference"]
        assert [each.supports for each in references][:3] == [word] * 3
        assert word not in [each.supports for each in references][3:]
        assert references[0].value >= references[1].value
        assert all(each.image.startswith(b"\xff\xd8") for each in references)
        assert "Cosine alone says the same." in found.notes


def test_a_reference_may_count_as_full_for_its_own_class(bank):
    image, masks = quadrants()
    model = colour_rim(bank, masks, own_score="itself", standardise="none")
    chosen = model.competitors([[word] for word in WORDS])
    assert [float(chosen.profiles[k, 0, k]) for k in range(3)] == [1.0] * 3
    result = model.segment(image, WORDS)
    assert [result.label_map[mask][0] for mask in masks[:3]] == [0, 1, 2]
    matched, _ = model.match(chosen.references[1, :1], chosen)
    assert int(matched.labels[0]) == 1


@pytest.mark.parametrize("unknown", ["off", "note", "label"])
def test_a_region_near_no_reference_is_unknown_in_every_place(bank_without_grey, tmp_path, unknown):
    image, masks = quadrants()
    model = colour_rim(bank_without_grey, masks, unknown=unknown)
    result = model.segment(image, WORDS)
    if unknown == "off":
        assert result.unknown is None
        assert result.unknown_share == 0
        return
    assert (result.unknown == masks[3]).all()
    assert (result.label_map[masks[3]] == IGNORE_INDEX).all() == (unknown == "label")
    assert [result.label_map[mask][0] for mask in masks[:3]] == [0, 1, 2]
    assert result.to_json()["unknown_share"] == 0.25
    assert "unknown 25.0%" in repr(result)
    plain = replace(result, unknown=None).overlay()
    assert plain.size[1] <= result.overlay().size[1]
    changed = (np.asarray(plain)[:16] != np.asarray(result.overlay())[:16]).any(-1)
    assert changed[masks[3]].any()
    assert not changed[~masks[3]].any()
    found = model.explain(image, WORDS, inside(masks[3]))
    assert found.label == (
        "void" if unknown == "label" else result.vocabulary.names[found_label(result, masks[3])]
    )
    assert any(note.startswith("No reference is near") for note in found.notes)


def found_label(result, mask) -> int:
    return int(result.label_map[mask][0])


def test_a_bank_of_single_images_calls_nothing_unknown(tmp_path):
    build_bank(
        WORDS,
        ColourSource(),
        ColourEncoder(),
        tmp_path / "a.bank",
        encoder_facts=FACTS,
        settings=replace(SETTINGS, images=1),
    )
    image, masks = quadrants()
    result = colour_rim(ReferenceBank(tmp_path / "a.bank"), masks, unknown="note").segment(image, WORDS)
    assert not result.unknown.any()


@pytest.mark.parametrize("background", ["words", "negatives"])
def test_background_is_negatives_where_the_bank_has_no_stuff_words_or_is_refused(tmp_path, background):
    image, masks = quadrants()
    image[masks[3]] = 250
    scenic = colour_bank(tmp_path / "a.bank", WORDS, has_scene=True)
    result = colour_rim(scenic, masks, background=background).segment(image, ["background", *WORDS])
    assert [result.label_map[mask][0] for mask in masks] == [1, 2, 3, 0]
    bare = colour_bank(tmp_path / "b.bank", WORDS)
    model = colour_rim(bare, masks, background=background)
    with pytest.raises(
        VocabularyError, match=r'references of "background".*--words "sky, wall, tree.*threshold'
    ):
        model.segment(image, ["background", *WORDS])
    model.segment(image, WORDS)
    colour_rim(bare, masks, missing_words="leave_out").segment(image, ["background", *WORDS])


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    how=st.sampled_from(["bank", "candidates", "none"]),
    ranking=st.sampled_from(["plackett_luce", "top_one", "cosine"]),
    over=st.sampled_from(["nearest", "mean"]),
    own=st.sampled_from(["itself", "leave_one_out"]),
)
def test_classes_that_a_region_never_ranks_do_not_change_its_label(
    random_bank, seed, how, ranking, over, own
):
    generator = torch.Generator().manual_seed(seed)
    features = normalize(torch.randn(5, 16, generator=generator), dim=-1)
    method = RIMSettings(
        standardise=how,
        ranking=ranking,
        over_references=over,
        own_score=own,
        num_candidates=3,
        temperature=1.0 if how != "none" else 0.1,
    )
    rows = range(len(random_bank))
    chosen = select_references(random_bank, rows, rows, method)
    everything, _ = match_features(features, chosen, method)
    for feature, label, ranked in zip(features, everything.labels, everything.candidates, strict=True):
        others = [row for row in rows if row not in ranked.tolist()]
        kept = torch.randperm(len(others), generator=generator)[: seed % (len(others) + 1)]
        fewer = sorted([*ranked.tolist(), *(others[place] for place in kept.tolist())])
        found, _ = match_features(feature[None], select_references(random_bank, fewer, fewer, method), method)
        assert fewer[int(found.labels[0])] == int(label)


@pytest.fixture(scope="module")
def random_bank(tmp_path_factory):
    """Nine classes of random features, two to six images each, some with fewer references than others."""
    generator = torch.Generator().manual_seed(0)
    classes = []
    for index in range(9):
        count = 2 + index % 5
        features = normalize(torch.randn(count, 16, generator=generator), dim=-1).half().float()
        found = spherical_kmeans(features, min(1 + index % 3, count))
        classes.append(
            ClassReferences(
                name=f"class {index}",
                key="",
                features=features,
                clusters=found.assignment,
                references=found.centroids,
                negatives=features[:1],
                thumbnails=(b"",) * count,
                origins=("",) * count,
                facts={"source": "random", "drawn": count, "rejected": {}},
            )
        )
    path = tmp_path_factory.mktemp("random") / "a.bank"
    save_bank(path, classes, encoder={"name": "none", "fingerprint": "", "short_side": 16})
    return ReferenceBank(path)


@pytest.fixture(scope="module")
def bank_without_grey(tmp_path_factory):
    return colour_bank(tmp_path_factory.mktemp("banks") / "b.bank", ["red", "green", "blue", "yellow"])


def test_unknown_choices_are_refused_where_no_checker_runs():
    code = "from lexiseg.methods.rim.settings import RIMSettings; RIMSettings(ranking='best')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "found ranking = 'best'; expected one of: plackett_luce, top_one, cosine" in done.stderr
