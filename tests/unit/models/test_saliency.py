import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lexiseg.core.errors import CheckpointError
from lexiseg.core.features import PatchFeatures
from lexiseg.models.saliency import SaliencyDecoder, load_saliency_decoder


def reference() -> nn.Sequential:
    """Build the decoder of torch's own layers, with statistics of its own."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, outputs in ((384, 256), (256, 128), (128, 64)):
        norm = nn.BatchNorm2d(outputs)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        layers += [nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1), norm, nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(64, 1, 1), nn.Sigmoid()).eval()


def save(folder, network: nn.Sequential):
    names = {0: "upconv1", 1: "bn1", 3: "upconv2", 4: "bn2", 6: "upconv3", 7: "bn3", 9: "final_conv"}
    tensors = {
        f"{names[int(name.partition('.')[0])]}.{name.partition('.')[2]}": value
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(tensors, folder / "saliency.safetensors")
    return folder


def test_the_map_is_eight_times_as_fine_as_the_tokens(tmp_path):
    network = reference()
    decoder = load_saliency_decoder(save(tmp_path, network))
    tokens = torch.randn(2, 6, 384)
    with torch.no_grad():
        found = decoder(PatchFeatures(tokens=tokens, grid=(2, 3), stride=14))
        expected = network(tokens.transpose(1, 2).reshape(2, 384, 2, 3))[:, 0]
    assert found.shape == (2, 16, 24)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert not any(value.requires_grad for value in decoder.parameters())


def test_a_missing_tensor_is_named(tmp_path):
    save(tmp_path, reference())
    tensors = load_file(tmp_path / "saliency.safetensors")
    del tensors["bn2.running_var"]
    save_file(tensors, tmp_path / "saliency.safetensors")
    with pytest.raises(CheckpointError, match=r"bn2\.running_var: file nothing, model \(128,\)"):
        load_saliency_decoder(tmp_path)


def test_the_widths_are_those_of_dinov2_small():
    assert SaliencyDecoder().upconv1.in_channels == 384
