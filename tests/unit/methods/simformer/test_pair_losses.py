import dataclasses

import pytest
import torch

from lexiseg.core.batch import Batch
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.data.partial_labels.batches import TruthBatch
from lexiseg.losses.similarity_transfer import distillation_loss, score_similarity
from lexiseg.methods.simformer.pair_losses import PairLosses, _on_grid
from lexiseg.methods.simformer.settings import SimFormerSettings
from lexiseg.models.maskformer import MaskFormerOutput
from partial_label_toys import BIRD, CAT, NAMES

GRID, WIDTH, QUERIES = 8, 6, 5
UNSEEN = frozenset({3, 4, 5})


def losses_of(**method) -> PairLosses:
    torch.manual_seed(0)
    method.setdefault("num_points", 10)
    return PairLosses(WIDTH, UNSEEN, SimFormerSettings(**method))


def output_of(num_images: int = 2, seed: int = 1) -> MaskFormerOutput:
    torch.manual_seed(seed)

    def leaf(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, requires_grad=True)

    return MaskFormerOutput(
        pixel_embeddings=leaf(num_images, WIDTH, GRID, GRID),
        class_logits=leaf(2, num_images, QUERIES, len(NAMES) + 1),
        mask_embeddings=leaf(2, num_images, QUERIES, WIDTH),
        mask_logits=leaf(2, num_images, QUERIES, GRID, GRID),
    )


def batch_of(tags=((CAT,), (CAT, BIRD)), hidden: int = 16) -> Batch:
    label_maps = torch.zeros(len(tags), 32, 32, dtype=torch.int64)
    label_maps[:, :8] = 1
    label_maps[:, :, :hidden] = IGNORE_INDEX
    table = torch.zeros(len(tags), len(NAMES), dtype=torch.bool)
    for row, labels in enumerate(tags):
        table[row, list(labels)] = True
    images = torch.zeros(len(tags), 3, 32, 32, dtype=torch.uint8)
    return Batch(images=images, sources=("a",) * len(tags), label_maps=label_maps, tags=table)


def test_simnet_learns_from_embeddings_without_changing_them_and_is_not_changed_by_teaching():
    losses, output = losses_of(), output_of()
    learnt, taught = losses(batch_of(), output)
    learnt.backward(retain_graph=True)
    assert output.pixel_embeddings.grad is None
    assert all(value.grad is not None for value in losses.simnet.parameters())
    losses.zero_grad()
    taught.backward()
    assert taught.item() != 0
    assert all(value.grad is None for value in losses.simnet.parameters())
    assert output.pixel_embeddings.grad is None
    assert output.class_logits.grad[-1].abs().sum() > 0
    assert output.class_logits.grad[0].abs().sum() == 0
    assert output.mask_logits.grad[-1].abs().sum() > 0


def test_embeddings_are_changed_on_request():
    losses, output = losses_of(detached=False), output_of()
    losses(batch_of(), output)[0].backward()
    assert output.pixel_embeddings.grad.abs().sum() > 0


def test_images_that_share_no_unseen_tag_are_not_distilled():
    for tags in (((CAT,), (BIRD,)), ((CAT,), ()), ((0, CAT), (0,))):
        assert losses_of()(batch_of(tags), output_of())[1].item() == 0
    assert losses_of()(batch_of(), output_of())[1].item() != 0


def test_an_image_without_unlabelled_pixels_is_not_distilled():
    assert losses_of()(batch_of(hidden=0), output_of())[1].item() == 0


def test_self_pairs_need_a_tag_of_their_own_and_compare_the_same_points():
    output = output_of()
    assert losses_of(pairs="self")(batch_of(((CAT,), ())), output)[1].item() != 0
    assert losses_of(pairs="self")(batch_of(((), ())), output)[1].item() == 0


def test_the_diagonal_of_self_pairs_can_be_left_out():
    output = output_of()
    torch.manual_seed(5)
    kept = losses_of(pairs="self")(batch_of(), output)[0]
    torch.manual_seed(5)
    dropped = losses_of(pairs="self", keeps_diagonal=False)(batch_of(), output)[0]
    assert kept.item() != dropped.item()


def constant_teacher(losses: PairLosses, monkeypatch: pytest.MonkeyPatch, answers: torch.Tensor) -> None:
    monkeypatch.setattr(losses.simnet, "forward", lambda first, second: answers.logit())


def student_similarities(
    losses: PairLosses, batch: Batch, output: MaskFormerOutput, monkeypatch
) -> list[torch.Tensor]:
    """Return the two arguments and the result of every call of ``score_similarity``."""
    seen = []

    def watch(first, second):
        seen.extend([first, second])
        return score_similarity(first, second)

    monkeypatch.setattr("lexiseg.methods.simformer.pair_losses.score_similarity", watch)
    losses(batch, output)
    return seen


def test_the_student_compares_two_images_and_the_released_one_only_one(monkeypatch):
    first, second = student_similarities(losses_of(), batch_of(), output_of(), monkeypatch)
    assert first.shape == second.shape == (2, 10, 3)  # both orders, points, unseen classes
    assert torch.equal(first[0], second[1])
    assert torch.equal(first[1], second[0])
    first, second = student_similarities(
        losses_of(student_within_image=True), batch_of(), output_of(), monkeypatch
    )
    assert torch.equal(first, second)


def test_scores_are_of_unseen_classes_unless_all_are_asked_for(monkeypatch):
    output = output_of()
    unseen, _ = student_similarities(losses_of(), batch_of(), output, monkeypatch)
    every, _ = student_similarities(losses_of(student="all"), batch_of(), output, monkeypatch)
    assert every.shape[-1] == len(NAMES)
    classes = output.class_logits[-1].softmax(-1)[..., :-1]
    scores = torch.einsum("bqc,bqp->bpc", classes, output.mask_logits[-1].flatten(2).sigmoid())
    # every sampled row is one of the pixels of its image
    for row, image in enumerate((0, 1)):
        for sampled, whole in ((every, scores[image]), (unseen, scores[image][:, 3:])):
            distances = (sampled[row][:, None] - whole).abs().amax(dim=-1)
            assert distances.amin(dim=1).max() < 1e-5


def test_the_shuffled_teacher_gives_the_same_answers_in_another_order(monkeypatch):
    answers = torch.rand(2, 10, 10)
    given = []
    monkeypatch.setattr(
        "lexiseg.methods.simformer.pair_losses.distillation_loss",
        lambda teacher, *rest: given.append(teacher) or distillation_loss(teacher, *rest),
    )
    for teacher in ("simnet", "shuffled"):
        losses = losses_of(teacher=teacher)
        real = losses.simnet.forward
        monkeypatch.setattr(
            losses.simnet,
            "forward",
            lambda first, second, losses=losses, real=real: (
                real(first, second) if losses.simnet.training else answers.logit()
            ),
        )
        losses(batch_of(), output_of())
    torch.testing.assert_close(given[0], answers)
    assert not torch.allclose(given[1], answers)
    torch.testing.assert_close(given[1].flatten(1).sort().values, answers.flatten(1).sort().values)


def test_the_oracle_says_what_is_true_and_nothing_of_void(monkeypatch):
    batch = batch_of(hidden=16)
    truth = batch.label_maps.clone()
    truth[:, :16, :16], truth[:, 16:24, :16] = CAT, BIRD  # the rest of the hidden part stays void
    told = TruthBatch(
        images=batch.images, sources=batch.sources, label_maps=batch.label_maps, tags=batch.tags, truth=truth
    )
    given = []
    monkeypatch.setattr(
        "lexiseg.methods.simformer.pair_losses.distillation_loss",
        lambda teacher, *rest: given.append(teacher) or distillation_loss(teacher, *rest),
    )
    losses_of(teacher="oracle", num_points=32)(told, output_of())
    # 32 points are all hidden pixels of the grid: 16 of cat, 8 of bird, 8 void
    assert (given[0][0] == 1).sum().item() == 16 * 16 + 8 * 8
    assert (given[0][0] == 0).sum().item() == 2 * 16 * 8
    assert (given[0][0] == 0.5).sum().item() == 32 * 32 - 24 * 24
    with pytest.raises(AssertionError, match="needs the truth"):
        losses_of(teacher="oracle")(batch, output_of())


def test_padding_is_never_compared():
    batch = batch_of()
    padding = torch.zeros(2, 32, 32, dtype=torch.bool)
    padding[:, 16:] = True
    labels = batch.label_maps.clone()
    labels[padding] = IGNORE_INDEX
    padded = dataclasses.replace(batch, label_maps=labels, padding=padding)
    output = output_of()
    learnt, taught = losses_of(detached=False)(padded, output)
    (learnt + taught).backward()
    assert output.pixel_embeddings.grad[:, :, 4:].abs().sum() == 0
    assert output.mask_logits.grad[:, :, :, 4:].abs().sum() == 0


@pytest.mark.parametrize(("size", "cells"), [(32, 8), (32, 32), (10, 3), (63, 16), (250, 63)])
def test_labels_are_read_at_the_centres_of_the_cells_also_where_sizes_do_not_divide(size, cells):
    rows = torch.arange(size).expand(1, size, size).mT
    read = _on_grid(rows, (cells, 4)).view(cells, 4)
    centres = (torch.arange(cells) + 0.5) * size / cells
    assert (read[:, 0] - (centres - 0.5)).abs().max() <= 0.5
