import warnings

import pytest
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from lexiseg.core.errors import CheckpointError
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.inference.feature_cache import CachedEncoder


class CountingEncoder(ImageEncoder):
    """Mean colours of 4×4 patches through a matrix; counts the images it sees and how many at once."""

    stride = 4

    def __init__(self, *, whole: bool = True, gain: float = 1.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.matrix = nn.Parameter(gain * torch.randn(3, 5, generator=generator))
        self.whole = whole
        self.seen: list[int] = []

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        self.seen.append(len(images))
        maps = nn.functional.avg_pool2d(images, 4)
        tokens = maps.flatten(2).transpose(1, 2) @ self.matrix
        return PatchFeatures(
            tokens=tokens,
            grid=(maps.shape[2], maps.shape[3]),
            stride=4,
            global_token=tokens.mean(1) if self.whole else None,
        )


def images(number: int = 3, size: tuple[int, int] = (8, 12)) -> Tensor:
    return torch.rand(number, 3, *size, generator=torch.Generator().manual_seed(number))


@pytest.mark.parametrize("whole", [True, False])
def test_what_comes_back_is_what_went_in_rounded_to_half(tmp_path, whole):
    encoder = CountingEncoder(whole=whole)
    cached = CachedEncoder(encoder, fingerprint="a", folder=tmp_path)
    expected = encoder(images())
    for _ in range(2):
        found = cached(images())
        assert found.grid == expected.grid == (2, 3)
        assert found.stride == cached.stride == 4
        assert found.tokens.dtype == torch.float32
        assert torch.equal(found.tokens, expected.tokens.half().float())
        assert not found.tokens.requires_grad
        assert (found.global_token is not None) == whole
        if found.global_token is not None:
            assert torch.equal(found.global_token, expected.global_token.half().float())


def test_an_image_is_encoded_once_and_alone(tmp_path):
    encoder = CountingEncoder()
    cached = CachedEncoder(encoder, fingerprint="a", folder=tmp_path)
    cached(images())
    cached(images().flip(0))
    assert encoder.seen == [1, 1, 1]
    again = CachedEncoder(CountingEncoder(), fingerprint="a", folder=tmp_path)  # as in another run
    again(images())
    assert again.encoder.seen == []
    assert (cached.num_encoded, cached.num_found, again.num_encoded, again.num_found) == (3, 3, 0, 3)


def test_an_interrupted_run_keeps_what_it_finished(tmp_path):
    CachedEncoder(CountingEncoder(), fingerprint="a", folder=tmp_path)(images()[:2])
    cached = CachedEncoder(CountingEncoder(), fingerprint="a", folder=tmp_path)
    cached(images())
    assert cached.encoder.seen == [1]


CHANGES = {
    "flipped": lambda image: image.flip(3),
    "cropped": lambda image: image[:, :, :4],
    "another size": lambda image: nn.functional.interpolate(image, size=(16, 24)),
    "one pixel": lambda image: image.index_put((torch.tensor(0),) * 4, torch.tensor(0.5)),
    "turned, with the same numbers in the same order": lambda image: image.reshape(1, 3, 12, 8),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_image_has_features_of_its_own(tmp_path, change):
    cached = CachedEncoder(CountingEncoder(), fingerprint="a", folder=tmp_path)
    cached(images(1))
    changed = CHANGES[change](images(1))
    found = cached(changed)
    assert cached.num_found == 0
    assert torch.equal(found.tokens, CountingEncoder()(changed).tokens.half().float())


def test_another_encoder_has_features_of_its_own(tmp_path):
    CachedEncoder(CountingEncoder(), fingerprint="a", folder=tmp_path)(images())
    other = CachedEncoder(CountingEncoder(gain=2), fingerprint="b", folder=tmp_path)
    found = other(images())
    assert other.num_found == 0
    assert torch.equal(found.tokens, CountingEncoder(gain=2)(images()).tokens.half().float())


def test_the_encoder_is_frozen_and_stays_in_evaluation_mode(tmp_path):
    encoder = CountingEncoder().train()
    network = nn.Sequential(CachedEncoder(encoder, fingerprint="a", folder=tmp_path), nn.Linear(5, 2))
    network.train()
    assert not encoder.training
    assert [name for name, value in network.named_parameters() if value.requires_grad] == [
        "1.weight",
        "1.bias",
    ]


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "noise": lambda path: path.write_bytes(b"\xff" * 300),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_made_again(tmp_path, damage):
    cached = CachedEncoder(CountingEncoder(), fingerprint="a", folder=tmp_path)
    expected = cached(images(1)).tokens
    (path,) = tmp_path.rglob("*.safetensors")
    DAMAGE[damage](path)
    assert torch.equal(cached(images(1)).tokens, expected)
    assert cached.num_encoded == 2
    assert load_file(path)["patches"].shape == (2, 3, 5)


def test_the_folder_does_not_grow_beyond_its_bound(tmp_path):
    one = (2 * 3 + 1) * 5 * 2  # bytes of an image's numbers
    cached = CachedEncoder(CountingEncoder(), fingerprint="a", folder=tmp_path, max_bytes=2 * one)
    with pytest.warns(UserWarning, match=r"holds 0\.0 GiB of features, and 0\.0 are allowed") as caught:
        found = cached(images())
    assert torch.equal(found.tokens, CountingEncoder()(images()).tokens.half().float())
    assert len(caught) == 1
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2
    assert cached.num_not_kept == 1
    full = CachedEncoder(CountingEncoder(), fingerprint="a", folder=tmp_path, max_bytes=2 * one)
    with pytest.warns(UserWarning, match="further images are encoded each time"):
        full(images(1))  # what is there counts in the next run too
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        full(images(2))  # said once
    assert full.num_not_kept == 3


def test_a_folder_that_cannot_be_written_costs_a_warning_and_not_the_run(tmp_path):
    (tmp_path / "file").touch()
    cached = CachedEncoder(CountingEncoder(), fingerprint="a", folder=tmp_path / "file/features")
    with pytest.warns(UserWarning, match="Features cannot be kept in") as caught:
        found = cached(images())
    assert torch.equal(found.tokens, CountingEncoder()(images()).tokens.half().float())
    assert len(caught) == 1
    assert cached.num_not_kept == cached.num_encoded == 3


@pytest.mark.parametrize("gain", [1e6, float("nan")])
def test_numbers_that_do_not_fit_are_refused_and_not_kept(tmp_path, gain):
    cached = CachedEncoder(CountingEncoder(gain=gain), fingerprint="a", folder=tmp_path)
    with pytest.raises(
        CheckpointError, match=r"half precision: found numbers that are not finite, or above 65,504"
    ):
        cached(images(1))
    assert not list(tmp_path.rglob("*.safetensors"))
