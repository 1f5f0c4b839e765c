import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from caption_files import write_folder
from lexiseg.core.batch import Sample
from lexiseg.core.errors import InputError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.scenes import SceneDataset
from lexiseg.data.scenes.draw import scene_batch
from lexiseg.engine.optim import lr_factor
from lexiseg.methods.simseg.localisation import class_presence, similarity_mass
from lexiseg.models.bert import BertShape
from lexiseg.models.vit import ViTShape
from lexiseg.recipes import simseg
from lexiseg.runs.classification import ProbeSettings, linear_probe
from lexiseg.runs.settings_json import settings_from_json, settings_to_json
from lexiseg.runs.train import train_recipe


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return simseg.tiny().build_model().eval()


@pytest.mark.parametrize("recipe", [simseg.paper, simseg.paper_b16, simseg.scenes, simseg.tiny, simseg.emoji])
def test_recipes_are_plain_values_and_come_back_the_same(recipe):
    settings = recipe()
    written = json.loads(json.dumps(settings_to_json(settings)))
    assert settings_from_json(type(settings), written, source="here") == settings


@pytest.mark.parametrize(("recipe", "millions"), [(simseg.paper, 130.8), (simseg.paper_b16, 195.1)])
def test_the_paper_models_have_their_size(recipe, millions, monkeypatch):
    class ManyWords(simseg.WordTokenizer):
        def __init__(self, *_) -> None:
            super().__init__([])
            self.num_tokens = 30522

    monkeypatch.setattr(simseg.CaptionSimSegRecipe, "build_tokenizer", lambda self: ManyWords())
    with torch.device("meta"):
        built = recipe().build_model()
    assert sum(parameter.numel() for parameter in built.parameters()) / 1e6 == pytest.approx(
        millions, abs=0.1
    )
    assert built.settings.short_side == 288
    assert (built.method.training.image_topk, built.method.training.text_topk) == (5, 5)
    assert (built.method.testing.image_topk, built.method.testing.text_topk) == (5, 1)
    assert (built.method.training.padding, built.method.testing.padding) == ("plain", "masked")


@pytest.mark.parametrize(
    ("step", "rate"), [(0, 0.0), (12, 1.44e-4), (25, 3e-4), (512, 1.652e-4), (1000, 3e-5)]
)
def test_the_schedule_of_the_paper(step, rate):
    optim = simseg.paper().optim
    assert optim.lr * lr_factor(optim, step, 1000) == pytest.approx(rate, rel=1e-3)


def test_the_optimiser_of_the_paper_is_its_table_5():
    recipe = simseg.paper()
    assert (recipe.optim.betas, recipe.optim.weight_decay, recipe.optim.eps) == ((0.9, 0.98), 0.2, 1e-6)
    assert (recipe.run.batch_size, recipe.run.sub_batch_size) == (4096, 1024)


def test_words_of_scenes_are_all_known():
    recipe = simseg.scenes()
    known = recipe.build_tokenizer().vocabulary
    batch = scene_batch(recipe.data, 0, 0, 0, 256, 256)
    words = {word for caption in batch.captions for word in caption.lower().replace(".", "").split()}
    assert words <= set(known)


def test_scenes_of_another_size_are_refused():
    recipe = simseg.tiny()
    other = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, size=96))
    with pytest.raises(InputError, match="found scenes of 96 pixels for an image encoder of 64"):
        other.build_data()


def test_a_run_of_the_tiny_recipe_trains_evaluates_and_loads_again(tmp_path):
    recipe = simseg.tiny()
    short = dataclasses.replace(
        recipe,
        run=dataclasses.replace(recipe.run, num_steps=4, batch_size=8, log_every=1),
        evaluation=dataclasses.replace(recipe.evaluation, num_scenes=6),
    )
    model = train_recipe("lexiseg.recipes.simseg:tiny", recipe=short, out=tmp_path / "run", quiet=True)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    found = lines[-1]["evaluation"]
    assert {"mean_iou", "mask_energy", "area_baseline", "rsum", "top1", "recall"} <= set(found)
    assert 0 <= found["mask_energy"] <= 1
    result = model.segment(np.zeros((50, 70, 3), np.uint8), "star, ring, house, fish")
    assert result.vocabulary.names[-1] == "background"


def small_captions(folder: Path, **changes: object) -> simseg.CaptionSimSegRecipe:
    recipe = simseg.paper()
    return dataclasses.replace(
        recipe,
        image=ViTShape(width=16, depth=1, num_heads=1, patch=16, image_side=32),
        text=BertShape(width=16, depth=1, num_heads=1),
        run=dataclasses.replace(recipe.run, num_steps=6, batch_size=4, sub_batch_size=2, num_workers=0),
        captions=folder,
        **changes,
    )


@pytest.mark.filterwarnings("ignore:a record cannot be used")
def test_a_run_lists_the_broken_captions_it_met_in_its_folder(tmp_path):
    folder = write_folder(tmp_path / "data")
    image = sorted((folder / "images").iterdir())[3]
    image.write_bytes(b"no image")
    recipe = small_captions(folder)
    train_recipe("simseg/paper", recipe=recipe, out=tmp_path / "run", quiet=True)
    files = (tmp_path / "run/broken").glob("*.jsonl")
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert [json.loads(line)["key"] for line in lines] == [image.stem]
    facts = json.loads((tmp_path / "run/data.json").read_text())["facts"]
    assert facts["broken"] == {"unreadable image": 1}
    assert facts["invalid_log"] == str(tmp_path / "run/broken")


def test_a_refused_start_leaves_no_list_of_broken_captions(tmp_path):
    folder = write_folder(tmp_path / "data")
    with pytest.raises(InputError, match="no run there"):
        train_recipe("simseg/paper", recipe=small_captions(folder), out=tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()


def test_training_can_be_kept_to_a_split_and_rot_to_a_share(tmp_path):
    folder = write_folder(tmp_path / "data")
    stems = sorted(file.stem for file in (folder / "images").iterdir())
    (folder / "train.txt").write_text("\n".join(stems[:8]) + "\n")
    data = small_captions(folder, split="train", max_invalid=0.5).build_data()
    assert len(data.source) == 8
    assert data.settings.max_invalid == 0.5


def test_a_common_class_is_measured_apart(model):
    recipe = simseg.tiny()
    data = dataclasses.replace(recipe.data, common_class="person")
    changed = dataclasses.replace(
        recipe, data=data, evaluation=dataclasses.replace(recipe.evaluation, num_scenes=8)
    )
    found = changed.evaluate(model)
    assert {"common_recall", "others_recall", "common_score", "others_score", "score_margin"} <= set(found)


def scene_of_two(monkeypatch, model, maps):
    """Measure maps of two things, star in the upper left quarter and ring below it, before a background."""
    label_map = np.zeros((64, 64), np.uint16)
    label_map[:32, :32], label_map[32:, :32] = 1, 2
    sample = Sample(image=np.zeros((64, 64, 3), np.uint8), source=Path("a.png"), label_map=label_map)
    monkeypatch.setattr(type(model), "word_maps", lambda *_: np.asarray(maps, np.float32))
    return similarity_mass(model, [sample], Vocabulary(names=("background", "star", "ring")))


UPPER, LOWER = ([[1, 0], [0, 0]], [[0, 0], [1, 0]])
BOTH, NEITHER = ([[1, 0], [1, 0]], [[0, 1], [0, 1]])


@pytest.mark.parametrize(
    ("maps", "energy", "right", "offset"),
    [
        ([UPPER, LOWER], 1.0, 1.0, 2 / 3**0.5),
        ([LOWER, UPPER], 0.0, 0.0, 2 / 3**0.5),
        ([BOTH, BOTH], 0.5, 0.5, 2.0),  # finds things, and does not know which
        ([NEITHER, NEITHER], 0.0, 0.5, -2.0),
        ([LOWER, NEITHER], 0.0, 0.5, None),
    ],
)
def test_a_map_is_measured_by_where_it_lies_which_thing_it_means_and_whether_it_is_upside_down(
    monkeypatch, model, maps, energy, right, offset
):
    found = scene_of_two(monkeypatch, model, maps)
    assert (found.mask_energy, found.area_baseline, found.num_maps) == (energy, 0.25, 2)
    assert (found.which_is_which, found.chance, found.gain) == (right, 0.5, energy / 0.25)
    assert offset is None or found.map_offset == pytest.approx(offset, abs=1e-5)


def with_map(model, kind):
    changed = copy.copy(model)
    changed.method = dataclasses.replace(
        model.method, masks=dataclasses.replace(model.method.masks, map=kind)
    )
    return changed


def test_maps_are_the_words_minus_the_mean_word_upside_down_or_of_no_word(model):
    dataset = SceneDataset(simseg.tiny().data, 1)
    names = model.name_classes(dataset.vocabulary, model.settings)
    encoded = model.encode(dataset[0].image)
    maps = {
        kind: with_map(model, kind).word_maps(encoded, names, [1, 2], model.settings)
        for kind in ("similarity", "contrasted", "negated", "saliency")
    }
    every = model.word_maps(encoded, names, list(range(len(dataset.vocabulary))), model.settings)
    assert np.allclose(maps["contrasted"], maps["similarity"] - every.mean(0), atol=1e-5)
    assert np.array_equal(maps["negated"], -maps["similarity"])
    assert np.array_equal(maps["saliency"][0], maps["saliency"][1])
    assert maps["saliency"].shape == maps["similarity"].shape
    assert np.ptp(maps["saliency"]) > 0
    without = dataclasses.replace(model.settings, background="none")
    alone = model.name_classes(Vocabulary(names=("star",)), without)
    one = [
        with_map(model, kind).word_maps(encoded, alone, [0], without) for kind in ("similarity", "contrasted")
    ]
    assert np.array_equal(*one)
    assert "simseg-masks" in model.applies
    assert "simseg-masks" not in with_map(model, "contrasted").applies


def test_presence_counts_what_the_threshold_lets_through(model):
    dataset = SceneDataset(simseg.tiny().data, 5)
    presence = class_presence(model, dataset, dataset.vocabulary)
    assert presence.shown.shape == presence.found.shape == (5, 13)
    assert 0 <= presence.recall(list(range(1, 13))) <= 1
    full = dataclasses.replace(presence, found=presence.shown)
    assert full.recall(list(range(1, 13))) == 1.0
    leading = dataclasses.replace(presence, scores=presence.scores * 0)
    leading.scores[:, 1] = 0.5
    shown = presence.shown.copy()
    shown[:, 1] = shown[0, 2] = True
    assert dataclasses.replace(leading, shown=shown).score_margin(1, [2, 3, 4]) == pytest.approx(0.5)


def test_a_probe_learns_what_is_linear_and_is_at_chance_where_labels_are_drawn():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(600, 12, generator=generator)
    labels = (features @ torch.randn(12, 4, generator=generator)).argmax(1)
    drawn = torch.randint(0, 4, (600,), generator=generator)
    settings = ProbeSettings(num_epochs=30, total_lr_steps=(12.8 * 3516 / 10,))
    views = features[None, :400]
    learnt = linear_probe(views, labels[:400], features[400:], labels[400:], num_classes=4, settings=settings)
    by_chance = linear_probe(
        views, drawn[:400], features[400:], drawn[400:], num_classes=4, settings=settings
    )
    assert learnt[1] > 0.85
    assert learnt[4] == 1.0
    assert by_chance[1] < 0.4


def test_a_probe_without_images_is_refused():
    with pytest.raises(InputError, match="found 0 images with labels up to None"):
        linear_probe(
            torch.zeros(1, 0, 3), torch.zeros(0, dtype=torch.long), torch.zeros(1, 3), torch.zeros(1, dtype=torch.long),
            num_classes=2,
        )  # fmt: skip
