import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lexiseg.cli import main
from lexiseg.models.clip import load_clip
from lexiseg.models.hub import KNOWN_WEIGHTS
from lexiseg.models.weight_facts import LICENCES, strictness
from lexiseg.runs import combinations
from lexiseg.runs.combinations import COMBINATIONS, Network, measure_rate
from tiny_checkpoints import TRANSFORMER, save_tiny_clip


def test_the_work_of_a_network_is_what_torch_counts(tmp_path):
    image, _ = load_clip(save_tiny_clip(tmp_path))
    image.vision.config._attn_implementation = "eager"  # the counter does not see inside fused attention
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        image.vision(pixel_values=torch.rand(2, 3, 32, 32))
    shape = {"depth": TRANSFORMER["num_hidden_layers"], "width": TRANSFORMER["hidden_size"]}
    ours = Network(name="x", megabytes=0, **shape).work(2, 17)
    # The tiny network has an MLP 1.5 times as wide as its tokens, where published ones have 4; and 192 inputs a patch.
    tokens, width, depth = 2 * 17, shape["width"], shape["depth"]
    ours += tokens * width * depth * width * 4 * (1.5 - 4) + 2 * (2 * 16) * 192 * width
    assert counter.get_total_flops() == pytest.approx(ours, rel=0.02)


@pytest.mark.parametrize("each", COMBINATIONS, ids=lambda each: each.command.rpartition("=")[2])
def test_every_combination_says_what_it_is_made_of(each):
    assert each.work > 0
    assert each.source
    assert each.licence in LICENCES
    assert all(strictness(part.licence) <= strictness(each.licence) for part in each.parts)
    for part in each.parts:
        if known := KNOWN_WEIGHTS.get(part.name):
            assert part.megabytes == known.megabytes


def test_a_machine_twice_as_fast_takes_half_the_time(monkeypatch, capsys):
    shown = []
    for rate in (1e10, 2e10):
        monkeypatch.setattr(combinations, "measure_rate", lambda rate=rate: rate)
        with pytest.raises(SystemExit):
            main(["models"])
        line = next(line for line in capsys.readouterr().out.splitlines() if "head=trident" in line)
        shown.append(float(line.split()[2]))
    assert shown[0] == pytest.approx(2 * shown[1], abs=0.2)


def test_the_rate_is_measured():
    assert 1e8 < measure_rate() < 1e14
