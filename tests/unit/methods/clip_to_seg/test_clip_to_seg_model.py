import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize
from torch.utils.flop_counter import FlopCounterMode

from distillation_toys import (
    WIDTH,
    ToyTeacher,
    toy_batches,
    toy_method,
    toy_model,
    toy_texts,
    toy_view,
    with_label_map,
)
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import InputError
from lexiseg.methods.clip_to_seg.distillation import Distillation
from lexiseg.methods.clip_to_seg.fused_labels import GridLabels, at_centres, fuse_batch
from lexiseg.methods.clip_to_seg.regions import (
    class_prototypes,
    find_regions,
    pooled_vectors,
    same_class,
    sums_over_regions,
    telling_regions,
)
from lexiseg.methods.clip_to_seg.settings import ClipToSegSettings
from lexiseg.methods.clip_to_seg.teacher import unit_texts
from lexiseg.models.backbones import TinyPyramid
from lexiseg.models.dense_student import DenseStudent, StudentSettings
from partial_label_toys import SIZE, VOCABULARY, image_of, toy_samples


def batch_of(samples=None, **more):
    return toy_batches(samples or toy_samples(), **more)(0, 0, 4)


def grid_labels(labels: torch.Tensor) -> GridLabels:
    return GridLabels(labels, torch.zeros_like(labels, dtype=torch.bool), None)


def test_terms_and_what_is_logged():
    losses = toy_model()(batch_of())
    assert set(losses.terms) == {"global", "local", "text_space", "non_exclusive", "exclusive"}
    assert set(losses.observed) == {"alpha", "latent_classes", "mined_share"}
    assert losses.observed["latent_classes"] > 0
    assert losses.observed["mined_share"] > 0


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({"global_weight": 0.0}, {"global"}),
        ({"local": "none"}, {"local"}),
        ({"text_space_weight": 0.0}, {"text_space"}),
        ({"masks": "none"}, {"text_space"}),
        ({"exclusive_weight": 0.0}, {"exclusive"}),
        ({"focal": 0.0, "dice": 0.0}, {"non_exclusive"}),
    ],
)
def test_what_is_switched_off_is_gone_and_all_that_is_trained_has_a_gradient(changes, gone):
    model = toy_model(toy_method(**changes)).train()
    losses = model(batch_of())
    assert {"global", "local", "text_space", "non_exclusive", "exclusive"} - set(losses.terms) == gone
    losses.total().backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []


def test_nothing_of_the_teacher_gets_a_gradient():
    model = toy_model().train()
    batch = batch_of()
    maps, vectors = batch.teacher_maps.requires_grad_(), batch.teacher_vectors.requires_grad_()
    model(dataclasses.replace(batch, teacher_maps=maps, teacher_vectors=vectors)).total().backward()
    assert maps.grad is None
    assert vectors.grad is None
    assert not model.distillation.texts.requires_grad


@pytest.mark.parametrize("term", ["global", "local", "text_space", "non_exclusive", "exclusive"])
def test_every_term_moves_the_student(term):
    model = toy_model().train()
    model(batch_of()).terms[term].backward()
    assert model.student.head.project.weight.grad.abs().sum() > 0


def test_logits_by_hand():
    """R = (.6, .8), T = (1, 0), P = (0, 2), α = 1, β = 2: scores (.6, 1.6)."""
    features, text, generated = (
        torch.tensor([[0.6, 0.8]]),
        torch.tensor([[1.0, 0.0]]),
        torch.tensor([[0.0, 2.0]]),
    )
    beta = ClipToSegSettings().beta
    scores = torch.cat([features @ text.T, beta * features @ normalize(generated, dim=1).T], dim=1)
    torch.testing.assert_close(scores, torch.tensor([[0.6, 1.6]]))
    torch.testing.assert_close(scores.softmax(dim=1), torch.tensor([[0.26894, 0.73106]]), atol=1e-5, rtol=0)

    distillation = Distillation(text, 1, toy_method(local="none", focal=0.0, dice=0.0))
    maps = torch.tensor([0.6, 0.8]).view(1, 2, 1, 1) * 3  # the length does not matter
    labels = torch.tensor([[[1]]])
    from lexiseg.methods.clip_to_seg.fused_labels import FusedLabels

    fused = FusedLabels(labels, 1, ((0, 1),), ((1, 2),))
    for scale in (1.0, 7.0):
        terms = distillation._classification(
            maps, fused, generated * scale, torch.tensor([1]), torch.tensor(1.0)
        )
        assert terms["exclusive"].item() == pytest.approx(0.31326, abs=1e-5)


def test_fusing_keeps_seen_labels_and_numbers_nameless_classes_after_them():
    maps = torch.zeros(2, WIDTH, 8, 8)
    maps[:, 3, :, :4], maps[:, 4, :, 4:] = 1, 1
    labels = torch.full((2, 8, 8), IGNORE_INDEX)
    labels[:, :4] = 1
    fused = fuse_batch(grid_labels(labels), maps, toy_texts(["wall", "floor", "cup"]), 3, toy_method())
    assert (fused.labels[:, :4] == 1).all()
    assert set(fused.labels[:, 4:].unique().tolist()) == {3, 4}
    assert fused.latent == ((3, 5),)
    # Each image alone: other numbers in the second image.
    alone = fuse_batch(
        grid_labels(labels), maps, toy_texts(["wall", "floor", "cup"]), 3, toy_method(mined_together=1)
    )
    assert alone.latent == ((3, 5), (5, 7))
    assert set(alone.labels[1, 4:].unique().tolist()) == {5, 6}


def test_known_names_are_given_to_nameless_classes():
    maps = torch.zeros(1, WIDTH, 8, 8)
    maps[:, 3, :, :4], maps[:, 0, :, 4:] = 1, 1  # a cat, and a wall that nobody labelled
    labels = torch.full((1, 8, 8), IGNORE_INDEX)
    fused = fuse_batch(
        grid_labels(labels), maps, toy_texts(VOCABULARY.names), 3, toy_method(transductive=True)
    )
    assert (fused.labels[:, :, :4] == 3).all()
    assert (fused.labels[:, :, 4:] == IGNORE_INDEX).all()
    assert fused.latent == ((6, 6),)


def test_regions_are_classes_of_images_of_four_positions_or_more():
    labels = torch.full((2, 4, 4), IGNORE_INDEX)
    labels[0, :2], labels[0, 2, :2], labels[1, :1], labels[1, 3, 0] = 0, 5, 0, 7
    regions = find_regions(labels)
    assert list(zip(regions.image.tolist(), regions.label.tolist(), strict=True)) == [
        (0, 0), (0, 5), (1, 0), (1, 7),
    ]  # fmt: skip
    chosen = telling_regions(regions)
    assert chosen.tolist() == [0, 2]
    assert same_class(regions.label[chosen]).tolist() == [[False, True], [True, False]]
    maps = torch.arange(32.0).view(2, 1, 4, 4)
    sums = sums_over_regions(maps, regions)
    assert (sums[chosen, 0] / regions.size[chosen]).tolist() == [3.5, 17.5]
    prototypes, classes = class_prototypes(sums, regions)
    assert classes.tolist() == [0, 5, 7]
    assert prototypes.flatten().tolist() == pytest.approx([(3.5 * 8 + 17.5 * 4) / 12, 8.5, 28.0])


def test_the_largest_regions_of_each_image_are_kept():
    labels = torch.zeros(2, 6, 6, dtype=torch.int64)
    labels[:, 4:], labels[1, :3], labels[1, 3] = 1, 2, 3
    regions = find_regions(labels)
    assert regions.label.tolist() == [0, 1, 1, 2, 3]
    kept = telling_regions(regions, max_regions=1)
    found = zip(regions.image[kept].tolist(), regions.label[kept].tolist(), strict=True)
    assert list(found) == [(0, 0), (1, 2)]


@pytest.mark.parametrize("grid", [(3, 5), (8, 8), (16, 12)])
def test_pooled_vectors_are_means_over_positions_of_the_features_they_lie_in(grid):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (2, 8, 8), generator=generator)
    labels[0, :2] = IGNORE_INDEX
    maps = torch.randn(2, 5, *grid, generator=generator)
    regions = find_regions(labels)
    at_positions = at_centres(normalize(maps, dim=1), (8, 8))
    expected = [
        at_positions[image][:, labels[image] == label].mean(dim=1)
        for image, label in zip(regions.image.tolist(), regions.label.tolist(), strict=True)
    ]
    torch.testing.assert_close(pooled_vectors(maps, regions), torch.stack(expected))


def test_a_batch_of_void_has_no_region():
    regions = find_regions(torch.full((2, 4, 4), IGNORE_INDEX))
    assert len(regions.image) == 0
    assert sums_over_regions(torch.rand(2, 3, 4, 4), regions).shape == (0, 3)
    assert pooled_vectors(torch.rand(2, 3, 2, 2), regions).shape == (0, 3)


def test_regions_are_shown_to_the_teacher_alone():
    teacher = ToyTeacher()
    model = toy_model(toy_method(local="reencoded", max_regions=2), teacher=teacher).train()
    model(batch_of(features=False)).total().backward()
    batch, crops = teacher.shown
    assert batch.shape == (4, 3, SIZE, SIZE)
    assert len(crops) <= 8
    assert crops.shape[1:] == (3, 224, 224)
    assert (crops[..., 0, 0] - crops[..., 1, 1]).abs().max() < 0.2


def test_regions_can_only_be_encoded_again_by_a_teacher_that_is_there():
    with pytest.raises(InputError, match=r"method\.local to pooled or none"):
        toy_model(toy_method(local="reencoded"))


def test_an_image_seen_again_is_not_its_own_negative():
    usual, pushed_first = (toy_model(toy_method(bank_before_loss=first)) for first in (False, True))
    vectors = batch_of().teacher_vectors[:1]
    maps = vectors[:, :, None, None].expand(-1, -1, 8, 8)
    padding = torch.zeros(1, 8, 8, dtype=torch.bool)
    for _ in range(2):
        assert usual.distillation._global(maps, vectors, padding).item() == 0
    doubled = pushed_first.distillation._global(maps, vectors, padding)
    assert doubled.item() == pytest.approx(math.log(2))


def test_the_bank_is_pushed_after_the_loss():
    model = toy_model()
    batch = batch_of()
    model(batch)
    assert torch.equal(model.distillation.bank(), batch.teacher_vectors)


ALL_VOID = [
    with_label_map(sample, np.full((SIZE, SIZE), IGNORE_INDEX, np.uint16)) for sample in toy_samples()
]
ALL_LABELLED = [image_of(name, 0, 1, void=0) for name in "abcd"]


@pytest.mark.parametrize(
    ("samples", "method"),
    [
        (ALL_VOID, {}),  # nothing but void
        (ALL_VOID, {"masks": "none"}),  # and nothing mined: the global distillation alone
        ([with_label_map(sample, None) for sample in toy_samples()], {}),  # no label map at all
        (ALL_LABELLED, {}),  # no pixel without a label
        (toy_samples(), {"min_area": 1e9}),  # no nameless class is kept
        (toy_samples(), {"similarity": -1.0}),  # one giant group
        (toy_samples(), {"similarity": 1.01}),  # nothing is merged
        (toy_samples(), {"min_area": 0.0, "min_unlabelled": 0.0}),  # regions of one dense feature
        (toy_samples(), {"bank": 100}),  # a bank larger than the data
        (toy_samples(), {"bank": 0}),
        (toy_samples(), {"mined_together": 3}),  # a rest of one image
        (toy_samples(), {"windows": (50,)}),  # windows larger than the map
    ],
)
def test_what_a_batch_may_lack_is_no_error(samples, method):
    model = toy_model(toy_method(**method)).train()
    data = toy_batches(samples)
    for step in range(2):
        losses = model(data(step, 0, 4))
        assert all(value.isfinite() for value in losses.terms.values())
        losses.total().backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []
    if samples is ALL_VOID and method.get("masks") == "none":
        assert losses.terms["exclusive"].item() == losses.terms["non_exclusive"].item() == 0
        assert losses.terms["local"].item() == 0
        assert losses.terms["global"].item() > 0


def test_without_a_nameless_class_the_loss_is_that_of_seen_classes():
    few = toy_model(toy_method(min_area=1e9, text_space_weight=0.0))
    none = toy_model(toy_method(masks="none"))
    none.student.load_state_dict(few.student.state_dict())
    batch = batch_of()
    ours, theirs = few(batch).terms, none(batch).terms
    assert {name: value.item() for name, value in ours.items()} == {
        name: value.item() for name, value in theirs.items()
    }


def test_training_without_any_mask_or_name():
    view = toy_view(toy_samples(), masks="none")
    assert view.names == ()
    model = toy_model(names=()).train()
    model(toy_batches(toy_samples(), view=view)(0, 0, 4)).total().backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []
    assert (model.segment(image_of("a", 0, 3).image, "cat, wall").label_map < 2).all()


def test_a_teacher_of_another_length_is_refused():
    model = toy_model(toy_method(), teacher=ToyTeacher(width=WIDTH + 2))
    with pytest.raises(InputError, match=f"length {WIDTH + 2}.*length {WIDTH}"):
        model(batch_of(features=False))


def test_texts_of_another_teacher_are_refused():
    model = toy_model()
    model._open_texts = lambda: lambda names, prompts: torch.ones(len(names), 3)
    with pytest.raises(InputError, match=f"vectors of length 3; expected length {WIDTH}"):
        model.segment(image_of("a", 0, 3).image, "cat")


def test_gamma_is_taken_from_seen_classes_only():
    model = toy_model()
    image = image_of("a", 0, 3).image
    names = ["wall", "cat", "CUP"]
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        plain = model.class_scores(model.encode_images(pixels), model.embed_texts(names, "single"))
        model.method = dataclasses.replace(model.method, gamma=1.0)
        calibrated = model.class_scores(model.encode_images(pixels), model.embed_texts(names, "single"))
    difference = (plain - calibrated).amax(dim=(0, 2, 3))
    torch.testing.assert_close(difference, torch.tensor([1.0, 0.0, 1.0]), atol=1e-5, rtol=0)


def test_calibration_by_hand():
    scores = {"seen": 2.0, "unseen": 1.2}
    for gamma, best in ((0.0, "seen"), (1.0, "unseen")):
        taken = {name: score - gamma * (name == "seen") for name, score in scores.items()}
        assert max(taken, key=lambda name: taken[name]) == best


def test_more_gamma_never_finds_fewer_pixels_of_unseen_classes():
    model = toy_model()
    image = image_of("b", 0, 3, 4).image
    found = []
    for gamma in (-20.0, -1.0, 0.0, 1.0, 20.0):
        model.method = dataclasses.replace(model.method, gamma=gamma)
        found.append(int((model.segment(image, VOCABULARY).label_map >= 3).sum()))
    assert found == sorted(found)
    assert found[0] == 0
    assert found[-1] == SIZE * SIZE


def test_a_student_costs_what_a_plain_segmenter_costs():
    """U16: parameters and multiplications of a plain segmenter with as many classes as dimensions, nothing else runs."""
    model = toy_model().eval()
    plain = DenseStudent(TinyPyramid((8, 16), first_stride=4), WIDTH, StudentSettings(width=16))
    ran: list[torch.nn.Module] = []
    for module in model.modules():
        module.register_forward_hook(lambda module, inputs, output: ran.append(module))
    images = torch.rand(1, 3, SIZE, SIZE)
    embeddings = model.embed_texts(["cat", "wall"], "single")
    with FlopCounterMode(display=False) as ours, torch.no_grad():
        features = model.encode_images(images)
        model.class_scores(features, embeddings)
    with FlopCounterMode(display=False) as theirs, torch.no_grad():
        plain(images)
    used = {id(value) for module in ran for value in module.parameters(recurse=False)}
    assert sum(value.numel() for value in model.parameters() if id(value) in used) == sum(
        value.numel() for value in plain.parameters()
    )
    assert not any(module in ran for module in model.distillation.modules())
    positions = (SIZE // 4) ** 2
    assert ours.get_total_flops() - theirs.get_total_flops() == 2 * positions * 2 * (WIDTH + 1)


def test_a_name_more_is_a_row_more():
    model = toy_model()
    two, three = (model.embed_texts(names, "single") for names in (["cat", "wall"], ["cat", "wall", "dog"]))
    assert torch.equal(two, three[:2])
    assert len(three) == 3


def test_random_student_finds_no_unseen_class_by_itself():
    """A red flag otherwise: the texts would be leaking into the prediction."""
    model = toy_model().eval()
    shares = [(model.segment(sample.image, VOCABULARY).label_map == 3).mean() for sample in toy_samples()[:4]]
    truth = [(sample.label_map == 3).mean() for sample in toy_samples()[:4]]
    assert not np.allclose(shares, truth, atol=0.02)


def test_transductive_training_is_named_in_every_result():
    model = toy_model(toy_method(transductive=True), unseen=VOCABULARY.names[3:])
    record = model.segment(image_of("a", 0, 3).image, "cat").settings
    assert record["method"]["regime"] == "transductive"
    assert "transductively" in model.notice
    assert toy_model().segment(image_of("a", 0, 3).image, "cat").settings["method"]["regime"] == "inductive"
    assert toy_model().notice is None
    model.train()(batch_of()).total().backward()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.0}, r"temperature = 0\.0; expected a number above 0"),
        ({"attention_temperature": -1.0}, r"attention_temperature = -1\.0; expected a number above 0"),
        ({"bank": -1}, "bank = -1; expected a number from 0 to"),
        ({"windows": ()}, r"windows = \(\); expected one side or more"),
        ({"windows": (0, 3)}, r"windows = \(0, 3\); expected a number from 1 to"),
        ({"mined_together": 0}, "mined_together = 0; expected a number from 1"),
        ({"decoder_width": 30}, "decoder_width = 30; expected a multiple of decoder_heads"),
        ({"focal": -1.0}, r"focal = -1\.0; expected a number from 0 to"),
        ({"transductive": True, "masks": "none"}, "transductive = True; expected masks = mined"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        ClipToSegSettings(**changes)


def test_texts_become_unit_vectors_and_an_unknown_word_stays_zero():
    texts = unit_texts(lambda names, prompts: torch.tensor([[3.0, 4.0], [0.0, 0.0]]), ["a", "b"], "single")
    assert texts.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]


def test_alpha_is_bounded():
    model = toy_model()
    assert model.alpha.item() == pytest.approx(1 / 0.07)
    model.log_alpha.data.fill_(math.log(1e4))
    assert model.alpha.item() == pytest.approx(100)


def test_a_frozen_backbone_gets_no_gradient_and_stays_in_eval_mode():
    student = DenseStudent(TinyPyramid((8, 16)), WIDTH, StudentSettings(width=16, freeze=True)).train()
    student(torch.rand(1, 3, 16, 16)).sum().backward()
    assert all(value.grad is None for value in student.backbone.parameters())
    assert not student.backbone.training
    trained = [name for group in student.parameter_groups() for name, _ in group.parameters]
    assert trained
    assert all(name.startswith("head.") for name in trained)
