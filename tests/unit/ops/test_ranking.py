"""The worked numbers of the ranking reconstruction, and what must hold for any scores."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiseg.core.errors import InputError
from lexiseg.ops.ranking import (
    divergence,
    ranking_log_probabilities,
    standardise,
    top_one_log_probabilities,
)
from lexiseg.ops.region_matching import match_regions, reference_scores

A, B, C = range(3)
PROFILES = torch.tensor([[1.0, 0.3, 0.6], [0.3, 1.0, 0.1], [0.6, 0.1, 1.0]])[:, None]
REGION = torch.tensor([[0.62, 0.60, 0.05]])


def by_class(match, values):
    return torch.zeros(values.shape[1]).scatter_(0, match.candidates[0], values[0]).tolist()


def brute_force(scores, temperature):
    weights = [math.exp(score / temperature) for score in scores]
    probabilities = []
    for order in itertools.permutations(range(len(scores))):
        probability = 1.0
        for place, index in enumerate(order):
            probability *= weights[index] / sum(weights[other] for other in order[place:])
        probabilities.append(probability)
    return probabilities


def random_problem(seed, num_regions=6, num_classes=5, num_references=3):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(num_regions, num_classes, generator=generator)
    profiles = torch.rand(num_classes, num_references, num_classes, generator=generator)
    return scores, profiles


def test_plain_best_score_says_a():
    match = match_regions(REGION, PROFILES, ranking="cosine")
    assert match.labels.tolist() == [A]
    assert by_class(match, match.divergences) == pytest.approx([0, 0.02, 0.57], abs=1e-6)


def test_orders_of_the_sanity_example_are_thirds_sixths_and_so_on():
    scores = torch.tensor([math.log(3), math.log(2), 0.0])
    found = ranking_log_probabilities(scores, 1.0).exp().tolist()
    assert found == pytest.approx([1 / 3, 1 / 6, 1 / 4, 1 / 12, 1 / 10, 1 / 15], abs=1e-6)


def test_worked_region_at_temperature_one():
    found = ranking_log_probabilities(REGION[0], 1.0).exp().tolist()
    assert found == pytest.approx([0.2491, 0.1437, 0.2459, 0.1391, 0.1122, 0.1100], abs=5e-5)
    firsts = [top_one_log_probabilities(row, 1.0).exp().tolist() for row in [REGION[0], *PROFILES[:, 0]]]
    expected = [
        (0.3928, 0.3850, 0.2221),
        (0.4615, 0.2292, 0.3093),
        (0.2609, 0.5254, 0.2136),
        (0.3228, 0.1958, 0.4815),
    ]
    for row, wanted in zip(firsts, expected, strict=True):
        assert row == pytest.approx(wanted, abs=6e-5)


def test_worked_region_at_temperature_a_tenth():
    found = ranking_log_probabilities(REGION[0], 0.1).exp().tolist()
    assert (found[0], found[2]) == pytest.approx((0.5466, 0.4478), abs=5e-5)
    assert round(max(found[1], *found[3:]), 4) <= 0.0022


@pytest.mark.parametrize(
    ("temperature", "ranking", "kind", "expected", "label"),
    [
        (1.0, "plackett_luce", "kl", [0.1113, 0.0755, 0.3164], B),
        (1.0, "plackett_luce", "reverse_kl", [0.1167, 0.0735, 0.2919], B),
        (1.0, "top_one", "kl", [0.0629, 0.0497, 0.1658], B),
        (0.1, "plackett_luce", "kl", [4.132, 3.2205, 12.2545], B),
        (0.1, "plackett_luce", "reverse_kl", [5.5731, 1.1092, 6.7543], B),
        (0.1, "top_one", "kl", [2.4715, 3.159, 5.5573], A),
    ],
)
def test_worked_divergences(temperature, ranking, kind, expected, label):
    match = match_regions(REGION, PROFILES, ranking=ranking, temperature=temperature, kind=kind)
    assert by_class(match, match.divergences) == pytest.approx(expected, abs=6e-5)
    assert match.labels.tolist() == [label]
    assert match.best_by_score.tolist() == [A]
    assert match.runners_up().tolist() == [B if label == A else A]
    scores = match.class_scores(3)
    assert scores.argmax(dim=1).tolist() == [label]
    assert scores[0].tolist() == pytest.approx([1 / (1 + value) for value in expected], abs=6e-5)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=5), st.sampled_from([0.1, 0.5, 1.0, 7.0]))
def test_probabilities_of_orders_are_the_product_formula_and_sum_to_one(scores, temperature):
    found = ranking_log_probabilities(torch.tensor(scores, dtype=torch.float64), temperature).exp()
    assert found.tolist() == pytest.approx(brute_force(scores, temperature), abs=1e-9)
    assert found.sum().item() == pytest.approx(1, abs=1e-9)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.floats(-5, 5))
def test_a_constant_added_to_all_scores_changes_nothing(seed, constant):
    scores = torch.rand(5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for function in (ranking_log_probabilities, top_one_log_probabilities):
        torch.testing.assert_close(function(scores + constant, 0.1), function(scores, 0.1))


def test_a_large_temperature_makes_all_orders_alike_and_a_small_one_leaves_the_sorted_order():
    scores = torch.tensor([0.1, 0.9, 0.4, 0.7])
    flat = ranking_log_probabilities(scores, 1e6).exp()
    assert flat.tolist() == pytest.approx([1 / 24] * 24, abs=1e-6)
    sharp = ranking_log_probabilities(scores, 1e-3).exp()
    orders = list(itertools.permutations(range(4)))
    assert orders[int(sharp.argmax())] == (1, 3, 2, 0)
    assert sharp.max().item() == pytest.approx(1, abs=1e-6)


def test_the_distance_to_itself_is_zero_in_every_form():
    scores, _ = random_problem(0)
    logs = ranking_log_probabilities(scores, 0.1)
    for kind in ("kl", "reverse_kl", "jensen_shannon"):
        assert divergence(logs, logs, kind).abs().max() < 1e-6


def test_jensen_shannon_is_symmetric_and_at_most_ln_2():
    left, right = (ranking_log_probabilities(random_problem(seed)[0], 0.02) for seed in (1, 2))
    forward = divergence(left, right, "jensen_shannon")
    torch.testing.assert_close(forward, divergence(right, left, "jensen_shannon"))
    assert (forward > 0).all()
    assert (forward <= math.log(2) + 1e-6).all()


@pytest.mark.parametrize("ranking", ["plackett_luce", "top_one"])
@pytest.mark.parametrize("kind", ["kl", "reverse_kl", "jensen_shannon"])
def test_a_region_equal_to_a_reference_receives_its_class(ranking, kind):
    _, profiles = random_problem(3)
    profiles += 2 * torch.eye(5)[:, None]  # a reference is most like its own class
    regions = profiles[:, 1]
    match = match_regions(regions, profiles, ranking=ranking, kind=kind, temperature=0.5)
    assert match.labels.tolist() == [0, 1, 2, 3, 4]
    assert match.divergences.min(dim=1).values.max() < 1e-5


def test_with_two_classes_full_rankings_equal_who_comes_first():
    scores, profiles = random_problem(4, num_classes=2)
    full = match_regions(scores, profiles, ranking="plackett_luce")
    first = match_regions(scores, profiles, ranking="top_one")
    torch.testing.assert_close(full.divergences, first.divergences, atol=1e-5, rtol=1e-4)
    assert full.labels.tolist() == first.labels.tolist()


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 10**6), st.permutations(range(5)), st.sampled_from(["plackett_luce", "top_one", "cosine"])
)
def test_relabelling_the_classes_relabels_the_outcome(seed, order, ranking):
    scores, profiles = random_problem(seed)
    order = torch.tensor(order)
    plain = match_regions(scores, profiles, ranking=ranking)
    permuted = match_regions(scores[:, order], profiles[order][:, :, order], ranking=ranking)
    assert order[permuted.labels].tolist() == plain.labels.tolist()
    torch.testing.assert_close(permuted.divergences, plain.divergences)


@pytest.mark.parametrize("kind", ["kl", "reverse_kl", "jensen_shannon"])
def test_the_matrix_product_over_all_classes_equals_the_plain_definition(kind):
    scores, profiles = random_problem(5, num_classes=9)
    match = match_regions(scores, profiles, ranking="top_one", num_candidates=None, kind=kind)
    region = top_one_log_probabilities(scores, 0.1)
    for q in range(len(scores)):
        for place, label in enumerate(match.candidates[q].tolist()):
            each = [
                divergence(region[q], top_one_log_probabilities(profile, 0.1), kind).item()
                for profile in profiles[label]
            ]
            assert match.divergences[q, place].item() == pytest.approx(min(each), abs=2e-5)


@pytest.mark.parametrize("ranking", ["plackett_luce", "top_one"])
def test_only_the_candidates_are_compared_and_only_on_each_other(ranking):
    scores, profiles = random_problem(6, num_classes=8)
    match = match_regions(scores, profiles, ranking=ranking, num_candidates=3)
    for q in range(len(scores)):
        chosen = scores[q].topk(3).indices
        assert match.candidates[q].tolist() == chosen.tolist()
        alone = match_regions(
            scores[q : q + 1, chosen], profiles[chosen][:, :, chosen], ranking=ranking, num_candidates=3
        )
        assert chosen[alone.labels].tolist() == match.labels[q : q + 1].tolist()
        torch.testing.assert_close(alone.divergences, match.divergences[q : q + 1])
        assert match.class_scores(8)[q].count_nonzero() == 3


def test_a_class_is_as_far_as_its_nearest_reference_or_as_the_mean_of_them():
    scores, profiles = random_problem(7)
    each = [match_regions(scores, profiles[:, r : r + 1]).divergences for r in range(3)]
    nearest = match_regions(scores, profiles)
    mean = match_regions(scores, profiles, over_references="mean")
    torch.testing.assert_close(nearest.divergences, torch.stack(each).amin(dim=0))
    torch.testing.assert_close(mean.divergences, torch.stack(each).mean(dim=0))


def test_scores_are_cosines_to_the_nearest_reference_or_the_mean():
    features = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    references = torch.tensor([[[0.0, 3.0], [3.0, 4.0]], [[-1.0, 0.0], [0.0, 1.0]]])
    assert reference_scores(features, references).tolist() == [[pytest.approx(0.6), 0], [0, 0]]
    mean = reference_scores(features, references, over_references="mean")
    assert mean[0].tolist() == pytest.approx([0.3, -0.5])


def test_standardised_scores_have_mean_zero_and_deviation_one_and_constants_become_zero():
    scores = standardise(torch.tensor([[0.1, 0.5, 0.9], [0.7, 0.7, 0.7]]))
    assert scores[0].tolist() == pytest.approx([-1.2247, 0, 1.2247], abs=1e-4)
    assert scores[1].tolist() == [0, 0, 0]


def test_one_class_no_region_and_no_class_have_an_answer():
    one = match_regions(torch.tensor([[0.3]]), torch.ones(1, 2, 1))
    assert (one.labels.tolist(), one.runners_up().tolist()) == ([0], [0])
    for ranking in ("plackett_luce", "top_one", "cosine"):
        none = match_regions(torch.zeros(0, 4), torch.zeros(4, 2, 4), ranking=ranking)
        assert none.labels.shape == (0,)
        assert none.class_scores(4).shape == (0, 4)
    with pytest.raises(InputError, match=r"found no class; expected one class or more"):
        match_regions(torch.zeros(3, 0), torch.zeros(0, 2, 0))


def test_too_many_candidates_and_a_temperature_of_zero_are_refused_with_the_numbers():
    with pytest.raises(InputError, match=r"found 8 candidates, which is 40,320 orders; expected 7 .* fewer"):
        ranking_log_probabilities(torch.zeros(8), 0.1)
    with pytest.raises(InputError, match=r"found a temperature of 0.0; expected a number above zero"):
        match_regions(REGION, PROFILES, temperature=0.0)


def test_scores_can_be_standardised_over_others_and_constant_ones_give_zeros():
    over = torch.tensor([[0.0, 2.0], [3.0, 3.0]])
    found = standardise(torch.tensor([[3.0], [4.0]]), over=over)
    torch.testing.assert_close(found, torch.tensor([[2.0], [0.0]]))


@pytest.mark.parametrize("ranking", ["plackett_luce", "top_one"])
@pytest.mark.parametrize("num_candidates", [2, 3, 5])
def test_standardised_candidates_do_not_mind_shift_or_scale_and_two_of_them_are_cosine(
    ranking, num_candidates
):
    generator = torch.Generator().manual_seed(0)
    scores, profiles = (torch.rand(*size, generator=generator) for size in ((40, 6), (6, 2, 6)))
    profiles = profiles.masked_fill(torch.eye(6, dtype=torch.bool)[:, None], 1.0)
    how = {
        "ranking": ranking,
        "temperature": 1.0,
        "num_candidates": num_candidates,
        "standardise_candidates": True,
    }
    found = match_regions(scores, profiles, **how)
    moved = match_regions(0.3 * scores + 5, 0.1 * profiles - 2, **how)
    torch.testing.assert_close(found.divergences, moved.divergences, atol=1e-4, rtol=1e-3)
    assert torch.equal(found.labels, found.best_by_score) == (num_candidates == 2)
