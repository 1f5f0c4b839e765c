"""simseg/finetune: pretrained encoders in, a run that loads without them out."""

import json
from dataclasses import replace

import pytest
import torch

from caption_files import write_folder
from coloured_blocks import make_data
from lexiseg.core.errors import CheckpointError, InputError
from lexiseg.data.captions.opening import open_caption_source, read_samples
from lexiseg.engine.loop import final_step
from lexiseg.engine.seeding import seed_all
from lexiseg.engine.settings import RunSettings
from lexiseg.models.backbones import TinyPyramid
from lexiseg.models.bert import Bert
from lexiseg.models.minilm import TOKENIZER, WEIGHTS, load_minilm
from lexiseg.models.pyramid_tokens import PyramidTokens
from lexiseg.recipes import simseg_encoders
from lexiseg.recipes.simseg_encoders import MINILM_SHAPE
from lexiseg.recipes.simseg_finetune import finetune
from lexiseg.runs import train as train_module
from lexiseg.runs.folder import load_run
from lexiseg.runs.train import train_recipe
from lexiseg.scoring.image_text import embed_pairs


def small(folder, **changes):
    return replace(
        finetune(),
        **{
            "captions": folder,
            "image_encoder": "tiny",
            "image_side": 32,
            "test_side": 32,
            "token_stride": 8,
            "run": RunSettings(num_steps=2, batch_size=4, device="cpu"),
            **changes,
        },
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = write_folder(tmp_path_factory.mktemp("data") / "d", count=8)
    (path / "train.txt").write_text("\n".join(f"{n:03d}" for n in range(6)))
    (path / "val.txt").write_text("006\n007\n")
    return path


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore:words are unknown")
def test_a_run_from_pretrained_encoders_loads_without_them(folder, tmp_path, monkeypatch):
    labelled = make_data(tmp_path / "labelled", num=1).path
    run = RunSettings(num_steps=2, batch_size=4, device="cpu", final=finetune().run.final)
    splits = {"split": "train", "val_split": "val", "labelled": labelled}
    recipe = small(folder, **splits, image_rate=0.0, epochs=2.0, run=run)
    seed_all(recipe.run.seed, "weights")
    before = recipe.build_model()
    model = train_recipe("simseg/finetune", recipe=recipe, out=tmp_path / "run", quiet=True)
    changed = {
        name.split(".")[0] + "." + name.split(".")[1]
        for (name, old), new in zip(before.state_dict().items(), model.state_dict().values(), strict=True)
        if not torch.equal(old, new)
    }
    assert not any(name.startswith("image_encoder") for name in changed)
    assert {"image_projection.weight", "texts.network", "texts.projection"} <= changed
    written = json.loads((tmp_path / "run/recipe.json").read_text())["settings"]
    assert written["run"]["num_steps"] == 3  # two epochs of six images in batches of four
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    found = {line["step"]: line["evaluation"] for line in log if "evaluation" in line}
    assert list(found) == [2, 3]  # once an epoch, and at the end
    assert list(found[3]) == ["mean_iou", "rsum", "image_to_text_1", "text_to_image_1", "val_loss"]
    assert written["run"]["evaluate_every"] == 2
    assert final_step(tmp_path / "run") == (
        max(found, key=lambda step: (found[step]["mean_iou"], -step)),
        "best",
    )

    def gone(*_):
        raise AssertionError("the first checkpoint is asked for")

    monkeypatch.setattr(simseg_encoders, "load_backbone", gone)
    monkeypatch.setattr(Bert, "load_published", gone)
    monkeypatch.setattr(type(TOKENIZER), "verified_path", gone)
    again = load_run(tmp_path / "run").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())


def test_the_text_encoder_is_minilm():
    recipe = finetune()
    network = Bert(recipe.build_tokenizer(), MINILM_SHAPE).eval()
    with pytest.raises(CheckpointError, match="no tensor 'embeddings"):
        network.load_published({}, WEIGHTS.verified_path())
    network.load_published(simseg_encoders.load_file(WEIGHTS.verified_path()), WEIGHTS.verified_path())
    texts = ["two dogs run over grass", "a bird"]
    with torch.inference_mode():
        tokens, seen = network(texts, pad_to_max_length=True)
        mean = (tokens * seen[..., None]).sum(1) / seen.sum(1, keepdim=True)
    torch.testing.assert_close(mean, load_minilm()(texts), atol=1e-5, rtol=1e-4)


def test_each_encoder_has_a_rate_of_its_own_and_none_where_it_is_frozen(folder):
    groups = small(folder, image_rate=0.1, text_rate=0.0).build_model().parameter_groups()
    names = {group.lr_factor: [name for name, _ in group.parameters] for group in groups}
    assert set(names) == {0.1, 1.0}
    assert all(name.startswith("image_encoder.") for name in names[0.1])
    assert set(names[1.0]) == {"image_projection.weight", "texts.projection.weight", "temperature.value"}


def test_what_tokens_do_not_depend_on_is_frozen_so_that_several_devices_train():
    encoder = PyramidTokens(TinyPyramid(), 4)
    assert (encoder.stride, encoder.width) == (4, 32)
    encoder(torch.rand(1, 3, 32, 32)).tokens.sum().backward()
    trained = [value for value in encoder.parameters() if value.requires_grad]
    assert trained
    assert all(value.grad is not None for value in trained)
    assert any(not value.requires_grad for value in encoder.parameters())


def test_the_held_out_loss_is_the_training_loss_of_batches_and_first_captions(folder):
    recipe = small(folder, val_split="train", run=RunSettings(num_steps=2, batch_size=4, device="cpu"))
    model = small(folder).build_model().eval()
    with torch.no_grad():
        found = recipe.evaluate(model)
        pairs = embed_pairs(model, read_samples(open_caption_source(folder, split="train")))
        first = pairs.texts[::2]  # two captions an image
        parts = [
            model.contrast(pairs.images[rows], first[rows]).total() * len(rows)
            for rows in ([0, 1, 2, 3], [4, 5])
        ]
    assert found["val_loss"] == pytest.approx(float(sum(parts)) / 6, rel=1e-5)


def test_fewer_images_than_a_batch_are_refused_and_many_passes_are_said(folder, tmp_path):
    with pytest.raises(InputError, match="found 6 images for batches of 16"):
        train_recipe(
            "simseg/finetune",
            recipe=small(folder, split="train", run=RunSettings(num_steps=2, batch_size=16)),
            out=tmp_path / "a",
        )
    assert not (tmp_path / "a").exists()
    many = small(folder, split="train", run=RunSettings(num_steps=2, batch_size=4), epochs=1000.0)
    data = many.build_data()
    data.list_broken_in(tmp_path / "broken")
    with pytest.warns(UserWarning, match="1,500 steps of 4 are 1,000 passes over these 6 images"):
        train_module._say_epochs(many.fitted_to(data), data, quiet=True)
