from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lexiseg.ops.matching import assign


def as_pairs(assignment):
    queries, targets = assignment
    return list(zip(queries.tolist(), targets.tolist(), strict=True))


def test_a_tag_does_not_take_the_proposal_that_a_mask_needs_more():
    # T7 (a) of SimFormer's notes: rows are proposals, columns a class with a mask and one without.
    costs = torch.tensor([[[-0.4, -0.5], [0.7, -0.7], [1.4, -0.1]]])
    assert as_pairs(assign(costs, [2])[0]) == [(0, 0), (1, 1)]
    assert costs[0, 0, 0] + costs[0, 1, 1] == pytest.approx(-1.1)
    costs[0, 0, 1] = -0.9
    assert as_pairs(assign(costs, [2])[0]) == [(0, 0), (1, 1)]


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**31))
def test_no_other_assignment_is_cheaper(num_queries, num_targets, seed):
    costs = torch.randn(1, num_queries, num_targets, generator=torch.Generator().manual_seed(seed))
    queries, targets = assign(costs, [num_targets])[0]
    few, table = min(num_queries, num_targets), costs[0]
    assert len(queries) == len(set(queries.tolist())) == len(set(targets.tolist())) == few
    if num_queries < num_targets:
        table = table.T
    best = min(
        sum(table[row, column] for column, row in enumerate(rows))
        for rows in permutations(range(max(num_queries, num_targets)), few)
    )
    assert costs[0, queries, targets].sum() == pytest.approx(best.item(), abs=1e-5)


def test_every_problem_is_solved_for_itself_and_padding_is_never_chosen():
    costs = torch.randn(4, 6, 5)
    counts = [3, 0, 5, 1]
    padded = costs.clone()
    for index, count in enumerate(counts):
        padded[index, :, count:] = -100
    for index, (count, found) in enumerate(zip(counts, assign(padded, counts), strict=True)):
        assert as_pairs(found) == as_pairs(assign(costs[index : index + 1, :, :count], [count])[0])
        assert sorted(found[1].tolist()) == list(range(count))


def test_a_cost_that_is_no_number_is_the_last_to_be_chosen():
    costs = torch.tensor([[[float("nan"), 1.0], [2.0, float("inf")], [3.0, 0.5]]])
    assert as_pairs(assign(costs, [2])[0]) == [(1, 0), (2, 1)]
    assert len(assign(torch.full((1, 3, 2), float("nan")), [2])[0][0]) == 2
