import torch

from lexiseg.ops.evidence_sharing import defer_to_scores, keep_best_match, share_anew


def random_pair() -> tuple[torch.Tensor, torch.Tensor]:
    scores, seen = torch.rand(2, 2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    return scores, seen


def test_sharing_anew_keeps_the_best_score_of_a_patch_whatever_was_seen():
    scores, seen = random_pair()
    scores[:, :, 0, 0], seen[:, :, 0, 1] = 0, 0
    shared = share_anew(scores, seen)
    torch.testing.assert_close(shared.amax(1), scores.amax(1))
    assert shared[:, :, 0, 0].eq(0).all()
    torch.testing.assert_close(shared[:, :, 0, 1], scores[:, :, 0, 1])
    assert torch.equal(shared.argmax(1)[:, 1:], (scores + seen).argmax(1)[:, 1:])


def test_a_name_speaks_for_the_word_that_it_matches_best_and_for_all_that_match_as_well():
    matches = torch.tensor([[1.0, 0.2, 0.0, 0.5], [0.3, 0.0, 0.0, 0.5]])
    assert keep_best_match(matches).tolist() == [[1.0, 0.20000000298023224, 0.0, 0.5], [0.0, 0.0, 0.0, 0.5]]


def test_what_is_deferred_follows_the_scores_and_adds_up_to_what_was_seen():
    scores, seen = random_pair()
    scores[:, 0], seen[:, 0] = 0, 0  # not of the group
    deferred = defer_to_scores(seen, scores, 0.0)
    assert torch.equal((scores + deferred).argmax(1), scores.argmax(1))
    for own_share in (0.0, 0.35, 1.0):
        found = defer_to_scores(seen, scores, own_share)
        torch.testing.assert_close(found.sum(1), seen.sum(1))
        assert found[:, 0].eq(0).all()
    torch.testing.assert_close(defer_to_scores(seen, scores, 1.0), seen)


def test_where_no_word_has_a_score_nothing_is_deferred_and_all_is_finite():
    _, seen = random_pair()
    assert defer_to_scores(seen, torch.zeros_like(seen), 0.0).eq(0).all()
