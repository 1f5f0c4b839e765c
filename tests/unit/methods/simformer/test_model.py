import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from lexiseg.core.batch import Batch
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import InputError, VocabularyError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.inference.settings import InferenceSettings
from lexiseg.losses.set_prediction import SetWeights, match_layers, set_losses
from lexiseg.methods.simformer.model import SimFormer, set_targets
from lexiseg.methods.simformer.settings import SimFormerSettings
from lexiseg.models.backbones import TinyPyramid
from lexiseg.models.maskformer import TINY, MaskFormer
from partial_label_toys import BIRD, CAT, NAMES, VOCABULARY

SIZE = 32


def model_of(vocabulary: Vocabulary = VOCABULARY, **method) -> SimFormer:
    torch.manual_seed(0)
    method.setdefault("num_points", 12)
    network = MaskFormer(TinyPyramid(), len(vocabulary), TINY)
    return SimFormer(
        network,
        vocabulary,
        method=SimFormerSettings(**method),
        settings=InferenceSettings(short_side=SIZE, refine="none"),
    )


def batch_of(tags: tuple[int, ...] = (CAT, BIRD), num_images: int = 4, padding: int = 0) -> Batch:
    """Make images with two classes that have masks, a hidden middle, and tags."""
    torch.manual_seed(1)
    label_maps = torch.full((num_images, SIZE, SIZE), IGNORE_INDEX)
    label_maps[:, :, :10], label_maps[:, :, 22:] = 0, 2
    table = torch.zeros(num_images, len(NAMES), dtype=torch.bool)
    table[:, list(tags)] = True
    mask = torch.zeros(num_images, SIZE, SIZE, dtype=torch.bool)
    mask[:, SIZE - padding :] = True
    label_maps[mask] = IGNORE_INDEX
    return Batch(
        images=torch.randint(0, 256, (num_images, 3, SIZE, SIZE), dtype=torch.uint8),
        sources=tuple(f"{index}.png" for index in range(num_images)),
        label_maps=label_maps,
        tags=table,
        padding=mask,
    )


def test_targets_are_masks_first_and_tags_without_a_pixel_last():
    target = set_targets(batch_of())[0]
    assert target.labels.tolist() == [0, 2, CAT, BIRD]
    assert target.has_mask.tolist() == [True, True, False, False]
    assert target.masks.sum(dim=(1, 2)).tolist() == [320, 320, 0, 0]


def test_every_parameter_gets_a_gradient_whatever_the_pairs():
    for pairs in ("none", "self", "cross"):
        model = model_of(pairs=pairs)
        model(batch_of()).total().backward()
        assert [name for name, value in model.named_parameters() if value.grad is None] == []


def test_pair_losses_are_there_only_with_pairs():
    assert set(model_of(pairs="none")(batch_of()).terms) == {
        "classification",
        "focal",
        "dice",
        "complementary",
    }
    with_pairs = model_of()(batch_of())
    assert set(with_pairs.terms) - set(model_of(pairs="none")(batch_of()).terms) == {
        "similarity",
        "distillation",
    }
    assert with_pairs.weights["complementary"] == 0.15
    assert with_pairs.weights["distillation"] == 0.1
    assert with_pairs.weights["focal"] == 20


def test_with_all_classes_seen_it_is_a_plain_maskformer():
    # T15
    everything = Vocabulary(names=NAMES, seen=frozenset(range(len(NAMES))))
    model, batch = model_of(everything), batch_of(tags=())
    terms = model(batch).terms
    assert terms["complementary"].item() == terms["distillation"].item() == 0
    output = model.network(batch.pixels())
    targets = set_targets(batch)
    assignments = match_layers(output.class_logits, output.mask_logits, targets)
    plain = set_losses(output.class_logits, output.mask_logits, targets, assignments)
    for name in ("classification", "focal", "dice"):
        torch.testing.assert_close(terms[name], getattr(plain, name), rtol=1e-5, atol=1e-6)


def test_matching_losses_are_of_every_layer_and_pair_losses_of_the_last():
    # T14: change only the earlier layers' answers, through the decoder's intermediate proposals
    model, batch = model_of(), batch_of()
    output = model.network(batch.pixels())
    targets = set_targets(batch)
    assignments = match_layers(output.class_logits, output.mask_logits, targets)
    alone = sum(
        model._complementary(
            type(output)(
                pixel_embeddings=output.pixel_embeddings,
                class_logits=output.class_logits[layer : layer + 1],
                mask_embeddings=output.mask_embeddings[layer : layer + 1],
                mask_logits=output.mask_logits[layer : layer + 1],
            ),
            targets,
            assignments[layer : layer + 1],
            batch,
        )
        for layer in range(TINY.num_layers)
    )
    torch.testing.assert_close(model._complementary(output, targets, assignments, batch), alone)
    last = type(output)(
        pixel_embeddings=output.pixel_embeddings,
        class_logits=output.class_logits[-1:],
        mask_embeddings=output.mask_embeddings[-1:],
        mask_logits=output.mask_logits[-1:],
    )
    model.eval()
    torch.manual_seed(2)
    of_all = model.pair_losses(batch, output)
    model.pair_losses.balance.load_state_dict(model_of().pair_losses.balance.state_dict())
    torch.manual_seed(2)
    assert [value.item() for value in model.pair_losses(batch, last)] == [value.item() for value in of_all]


def test_images_without_tags_take_no_part_in_the_complementary_loss():
    batch = batch_of()
    model = model_of(pairs="none")
    with_tags = model(batch).terms["complementary"]
    batch.tags[2:] = False
    first_half = model(batch.part(0, 2)).terms["complementary"]
    torch.testing.assert_close(model(batch).terms["complementary"], first_half, rtol=1e-4, atol=1e-5)
    assert with_tags.item() != first_half.item()


def test_inference_uses_nothing_of_the_pair_losses():
    model = model_of().train()
    features = model.encode_images(torch.rand(1, 3, SIZE, SIZE))
    features.tokens.sum().backward()
    used = {name for name, value in model.named_parameters() if value.grad is not None}
    assert used
    assert all(name.startswith("network.") for name in used)
    called = []
    for module in model.pair_losses.modules():
        module.register_forward_hook(lambda *_: called.append(1))
    model.eval().encode_images(torch.rand(1, 3, SIZE, SIZE))
    assert not called
    assert model.pair_losses is not None
    assert model_of(pairs="none").pair_losses is None


def test_a_patch_is_its_semantic_scores():
    model = model_of().eval()
    images = torch.rand(2, 3, SIZE, SIZE)
    output = model.network(images)
    classes = output.class_logits[-1].softmax(dim=-1)[..., :-1]
    expected = torch.einsum("bqc,bqhw->bchw", classes, output.mask_logits[-1].sigmoid())
    features = model.encode_images(images)
    assert features.stride == model.stride
    scores = model.class_scores(features, torch.eye(len(VOCABULARY)))
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-4)


def test_images_of_any_size_are_filled_up_and_cut_again():
    model = model_of().eval()
    size = 3 * model.stride, 5 * model.stride
    assert model.encode_images(torch.rand(1, 3, *size)).grid == (3, 5)


def test_words_choose_among_the_models_classes():
    model = model_of().eval()
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    whole = model.segment(image, VOCABULARY, background="none")
    part = model.segment(image, ["bird", "CUP"])
    assert whole.label_map.shape == part.label_map.shape == (40, 50)
    scores = model.class_scores(
        model.encode_images(torch.rand(1, 3, SIZE, SIZE)), model.embed_texts(["bird", "cup"], "single")
    )
    assert scores.shape[1] == 2
    assert model.embed_texts(["bird"], "single").argmax().item() == BIRD


def test_words_that_the_model_does_not_know_are_refused_with_those_it_knows():
    model = model_of()
    with pytest.raises(
        VocabularyError, match=r"'horse', which it was not trained with; expected some of its 6 classes: wall"
    ):
        model.check_vocabulary(Vocabulary.parse("cat, horse"))
    model.check_vocabulary(Vocabulary.parse({"kitten": ["cat"], "wall": []}))
    vocabulary = Vocabulary(names=NAMES, synonyms=((), (), (), ("kitten",), (), ()), seen=VOCABULARY.seen)
    model = model_of(vocabulary)
    with pytest.raises(VocabularyError, match="'cat' and 'kitten', which are both its class 'cat'"):
        model.check_vocabulary(Vocabulary.parse("cat, kitten"))


def test_a_synonym_the_model_does_not_know_never_wins():
    model = model_of()
    assert model.embed_texts(["moggy", "cat"], "single").sum(dim=1).tolist() == [0, 1]


def test_every_parameter_is_in_one_group_and_the_backbone_is_slower():
    model = model_of(gate_learnable=True)
    groups = model.parameter_groups()
    names = [name for group in groups for name, _ in group.parameters]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    for group in groups:
        of_backbone = {name.startswith("network.backbone.") for name, _ in group.parameters}
        assert of_backbone == {group.lr_factor == 0.1}
    decayed = {name for group in groups if group.decayed for name, _ in group.parameters}
    assert "pair_losses.simnet.head.weight" in decayed
    assert "complementary.gate" not in decayed
    assert "pair_losses.simnet.blocks.1.mix_norm.weight" not in decayed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_points": 0}, "num_points = 0"),
        ({"dice": -1.0}, "dice = -1.0"),
        ({"gate": None, "gate_learnable": True}, "gate"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        SimFormerSettings(**changes)


def test_more_classes_than_proposals_are_refused_with_the_image():
    many = Vocabulary(names=tuple(f"class {index}" for index in range(20)), seen=frozenset(range(10)))
    tags = torch.ones(2, 20, dtype=torch.bool)
    batch = Batch(
        images=torch.zeros(2, 3, SIZE, SIZE, dtype=torch.uint8),
        sources=("a.png", "b.png"),
        label_maps=torch.full((2, SIZE, SIZE), IGNORE_INDEX),
        tags=tags,
    )
    with pytest.raises(InputError, match=r"a\.png: found 20 classes"):
        model_of(many)(batch)


def test_a_learnable_gate_gets_a_gradient_also_where_no_image_has_a_tag():
    model = model_of(pairs="none", gate_learnable=True)
    model(batch_of(tags=())).total().backward()
    assert model.complementary.gate.grad.item() == 0


def test_the_complementary_loss_is_computed_in_full_precision():
    model, taken = model_of(pairs="none"), []
    model.complementary.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        model(batch_of())
    assert set(taken) == {torch.float32}


def test_inference_is_the_network_alone_at_the_cost_of_a_plain_maskformer():
    plain, full = model_of(pairs="none").eval(), model_of().eval()
    full.network.load_state_dict(plain.network.state_dict())
    images = torch.rand(1, 3, SIZE, SIZE)

    def operations(model: SimFormer) -> list[str]:
        with torch.no_grad(), profile(activities=[ProfilerActivity.CPU]) as profiled:
            model.encode_images(images)
        return [event.name for event in profiled.events() if event.name.startswith("aten::")]

    def floating_point(run) -> int:
        with torch.no_grad(), FlopCounterMode(display=False) as counted:
            run()
        return counted.get_total_flops()

    operations(plain)
    assert operations(full) == operations(plain)
    features = [model.encode_images(images).tokens for model in (plain, full)]
    assert torch.equal(*features)

    def maskformer() -> None:
        plain.network(images, last_only=True)

    assert floating_point(lambda: full.encode_images(images)) == floating_point(maskformer)


def test_the_matching_is_weighted_apart_from_the_loss():
    """A class cost of its own changes who answers what, never the weight of a loss."""
    seen = []

    def noting(classes, masks, targets, weights):
        seen.append(weights)
        return match_layers(classes, masks, targets, weights)

    for given, expected in ((None, 1.5), (20.0, 20.0), (0.0, 0.0)):
        model = model_of(matching_classification=given, classification=1.5)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("lexiseg.methods.simformer.model.match_layers", noting)
            terms = model(batch_of())
        assert (seen[-1].classification, seen[-1].focal, seen[-1].dice) == (expected, 20.0, 1.0)
        assert terms.weights["classification"] == 1.5


def test_classes_decide_the_matching_where_they_weigh_much():
    model, batch = model_of(), batch_of(tags=())
    output = model.network(batch.pixels())
    targets = set_targets(batch)
    classes = torch.zeros_like(output.class_logits)
    classes[:, :, 3, 0] = classes[:, :, 7, 2] = 1.0  # proposals 3 and 7 lean towards the classes with masks
    by_masks = match_layers(classes, 30 * output.mask_logits, targets)
    by_class = match_layers(classes, 30 * output.mask_logits, targets, SetWeights(classification=1000.0))
    answers = {tuple(zip(q.tolist(), targets[0].labels[t].tolist(), strict=True)) for q, t in by_class[-1]}
    assert answers == {((3, 0), (7, 2))}
    assert any(set(q.tolist()) != {3, 7} for q, _ in by_masks[-1])
