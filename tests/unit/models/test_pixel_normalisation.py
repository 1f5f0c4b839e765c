import pytest
import torch

from lexiseg.core.errors import CheckpointError
from lexiseg.models.pixel_normalisation import load_normalisation
from tiny_checkpoints import write_json

COLOURS = {"image_mean": [0.5, 0.25, 0.0], "image_std": [0.5, 0.5, 1]}


def test_channels_are_normalised_in_the_order_red_green_blue(tmp_path):
    write_json(tmp_path / "preprocessor_config.json", COLOURS)
    images = torch.tensor([1.0, 0.75, 0.5]).reshape(1, 3, 1, 1).expand(1, 3, 2, 4)
    assert load_normalisation(tmp_path)(images)[0, :, 1, 3].tolist() == [1.0, 1.0, 0.5]


def test_the_statistics_travel_with_the_model_but_are_not_trained(tmp_path):
    write_json(tmp_path / "preprocessor_config.json", COLOURS)
    normalisation = load_normalisation(tmp_path)
    assert {name for name, _ in normalisation.named_buffers()} == {"mean", "std"}
    assert not list(normalisation.parameters())


def test_the_file_of_transformers_5_is_read_where_the_older_one_is_absent(tmp_path):
    write_json(tmp_path / "processor_config.json", {"image_processor": COLOURS})
    assert load_normalisation(tmp_path).mean.flatten().tolist() == [0.5, 0.25, 0.0]
    write_json(tmp_path / "preprocessor_config.json", {**COLOURS, "image_mean": [0.1, 0.1, 0.1]})
    assert load_normalisation(tmp_path).mean.flatten().tolist() == pytest.approx([0.1] * 3)


def test_a_model_that_wants_no_normalisation_gets_none(tmp_path):
    write_json(tmp_path / "preprocessor_config.json", {"do_normalize": False, **COLOURS})
    images = torch.rand(1, 3, 2, 2)
    assert torch.equal(load_normalisation(tmp_path)(images), images)


@pytest.mark.parametrize(
    "broken",
    [
        {"image_mean": [0.5, 0.5]},
        {"image_std": None},
        {"image_std": [0.5, 0, 0.5]},
        {"image_mean": ["a", "b", "c"]},
    ],
)
def test_unusable_statistics_are_refused_not_guessed(tmp_path, broken):
    write_json(tmp_path / "preprocessor_config.json", {**COLOURS, **broken})
    with pytest.raises(
        CheckpointError, match="three numbers each, for red, green and blue; image_std above 0"
    ) as caught:
        load_normalisation(tmp_path)
    assert repr(next(iter(broken.values()))) in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="found no such file"):
        load_normalisation(tmp_path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "1" + "0" * 39 + "e400"])
@pytest.mark.parametrize("name", ["image_mean", "image_std"])
def test_numbers_that_are_not_finite_are_refused(tmp_path, name, number):
    (tmp_path / "preprocessor_config.json").write_text(
        f'{{"{name}": [0.5, 0.5, {number}], "image_{"std" if name == "image_mean" else "mean"}": [1, 1, 1]}}'
    )
    with pytest.raises(CheckpointError, match="expected three numbers each"):
        load_normalisation(tmp_path)
