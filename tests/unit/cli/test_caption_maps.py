import numpy as np
import pytest
import torch
from PIL import Image

from lexiseg.cli.caption_maps import CaptionMaps, draw_maps
from lexiseg.core.errors import InputError
from lexiseg.recipes import simseg


def test_own_and_revised_captions_have_maps_and_scores(tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    model = simseg.tiny().build_model().eval()
    monkeypatch.setattr("lexiseg.cli.caption_maps.load_segmenter", lambda *_, **__: model)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)).save(tmp_path / "a.png")
    out = tmp_path / "maps.png"
    sentences = ("a star beside a ring", "a cross beside a ring")
    command = CaptionMaps(image=tmp_path / "a.png", model="run", sentences=sentences, out=out, device="cpu")
    assert command.run() == 0
    printed = capsys.readouterr().out
    assert all(sentence in printed for sentence in sentences)
    assert Image.open(out).size[0] == 3 * (224 + 8) + 8
    with pytest.raises(InputError, match="found no sentence"):
        CaptionMaps(image=tmp_path / "a.png", model="run", out=out).run()


def test_the_brightest_place_of_a_map_is_its_highest():
    image = np.full((40, 40, 3), 128, np.uint8)
    sheet = np.asarray(draw_maps(image, np.array([[[0.0, 1.0], [0.0, 0.0]]], np.float32), [("a", 0.5)]))
    tile = sheet[8 : 8 + 224, 8 + 232 : 8 + 232 + 224].astype(int)
    assert tile[56, 168].sum() > tile[56, 56].sum() + 100
