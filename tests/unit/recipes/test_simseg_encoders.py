"""simseg/finetune from every kind of encoder: a step of training each, and a run that loads without the first checkpoint."""

import shutil
from dataclasses import replace

import pytest
import torch

from caption_files import write_folder
from lexiseg.core.errors import CheckpointError, InputError
from lexiseg.engine.settings import RunSettings
from lexiseg.methods.simseg.settings import PoolingSettings, SimSegSettings
from lexiseg.recipes import simseg_encoders
from lexiseg.recipes.simseg import tiny
from lexiseg.recipes.simseg_encoders import (
    IMAGE_KINDS,
    TEXT_KINDS,
    load_caption_tokenizer,
    load_image_encoder,
    load_text_encoder,
)
from lexiseg.recipes.simseg_finetune import finetune
from lexiseg.runs.folder import load_run
from lexiseg.runs.train import train_recipe
from tiny_checkpoints import change_json, save_tiny_bert, save_tiny_clip, save_tiny_siglip, save_tiny_siglip2
from tiny_maskformers import save_tiny_classifier
from tiny_vision_checkpoints import save_tiny_dino, save_tiny_dinov2

#: By the model type of a checkpoint.
IMAGES = {
    "clip": save_tiny_clip,
    "siglip": save_tiny_siglip,
    "siglip2": save_tiny_siglip2,
    "vit": save_tiny_dino,
    "dinov2": lambda folder: save_tiny_dinov2(folder, patch=8),
    "dinov2_with_registers": lambda folder: save_tiny_dinov2(folder, patch=8, registers=True),
    "resnet": lambda folder: save_tiny_classifier(folder, "resnet"),
    "swin": lambda folder: save_tiny_classifier(folder, "swin"),
}
TEXTS = {"clip": save_tiny_clip, "bert": save_tiny_bert}


def test_the_tables_here_have_every_kind():
    assert IMAGES.keys() == set(IMAGE_KINDS)
    assert TEXTS.keys() == set(TEXT_KINDS)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    for kind, save in {**TEXTS, **IMAGES}.items():
        save(folder / kind)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "d", count=4)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A run from scratch, whose tokenizer knows the words of scenes."""
    out = tmp_path_factory.mktemp("runs") / "scenes"
    recipe = replace(tiny(), run=RunSettings(num_steps=1, batch_size=4, device="cpu"))
    recipe = replace(recipe, evaluation=replace(recipe.evaluation, num_scenes=1))
    train_recipe("simseg/tiny", recipe=recipe, out=out, quiet=True)
    return out


@pytest.fixture(autouse=True)
def bert_is_the_default(saved, monkeypatch):
    """MiniLM has 91 MB; its own test is in test_simseg_finetune."""
    monkeypatch.setattr(simseg_encoders, "_minilm", None)


@pytest.fixture
def small(saved):
    def made(data, **changes):
        run = RunSettings(num_steps=1, batch_size=4, device="cpu")
        pooled = SimSegSettings(embedding_dim=16, training=PoolingSettings(image_topk=2, text_topk=2))
        settings = {"method": pooled, "image_side": 64, "test_side": 64, "token_stride": 8, "run": run}
        both = {
            name: str(saved / kind) for name, kind in (("image_encoder", "vit"), ("text_encoder", "bert"))
        }
        return replace(finetune(), captions=data, **{**settings, **both, **changes})

    return made


def check_one_step(recipe, out, forgotten, moved=("image_encoder.", "texts.network.")):
    """Train a step, take the checkpoints away, load the run; return the model."""
    before = recipe.build_model().state_dict()
    model = train_recipe("simseg/finetune", recipe=recipe, out=out, quiet=True)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(before[name], value)}
    for part in ("image_encoder.", "texts.network."):
        assert any(name.startswith(part) for name in changed) == (part in moved), (part, changed)
    for folder in forgotten:
        shutil.move(folder, folder.with_name("gone"))
        try:
            again = load_run(out)
        finally:
            shutil.move(folder.with_name("gone"), folder)
        assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
        image, words = torch.rand(1, 3, 64, 64), ["a cat", "a photo of a dog and of grass"]
        with torch.inference_mode():
            assert torch.equal(model.embed_sentences(words), again.embed_sentences(words))
            assert torch.equal(model.encode_images(image).tokens, again.encode_images(image).tokens)
    return model


@pytest.mark.filterwarnings("ignore:words are unknown")
@pytest.mark.parametrize("kind", IMAGES)
def test_an_image_encoder_of_each_kind_trains_and_its_run_needs_no_checkpoint(
    small, saved, data, tmp_path, kind
):
    recipe = small(data, image_encoder=str(saved / kind))
    check_one_step(recipe, tmp_path / "run", [saved / kind])


@pytest.mark.filterwarnings("ignore:words are unknown")
@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_encoder_of_each_kind_trains_and_its_run_needs_no_checkpoint(
    small, saved, data, tmp_path, kind
):
    recipe = small(data, text_encoder=str(saved / kind))
    check_one_step(recipe, tmp_path / "run", [saved / kind])


@pytest.mark.filterwarnings("ignore:words are unknown")
def test_both_encoders_of_an_earlier_run_and_of_one_that_began_from_that(small, earlier, data, tmp_path):
    first = small(data, image_encoder=str(earlier), text_encoder=str(earlier))
    check_one_step(first, tmp_path / "a", [earlier])
    second = replace(
        first, image_encoder=str(tmp_path / "a"), text_encoder=str(tmp_path / "a"), image_rate=0.0
    )
    model = check_one_step(second, tmp_path / "b", [tmp_path / "a"], moved=("texts.network.",))
    a = load_run(tmp_path / "a")
    assert torch.equal(model.image_encoder.class_token, a.image_encoder.class_token)
    assert model.texts.network.tokenizer.ids(["a star"], 9) == a.texts.network.tokenizer.ids(["a star"], 9)


@pytest.mark.filterwarnings("ignore:words are unknown")
@pytest.mark.parametrize("kind", ["clip", "siglip", "vit"])
def test_class_tokens_train_what_they_depend_on_and_no_parameter_is_idle(small, saved, data, kind):
    method = replace(small(data).method, training=PoolingSettings(pooling="cls"))
    recipe = small(data, image_encoder=str(saved / kind), text_encoder=str(saved / "clip"), method=method)
    model = recipe.build_model().train()
    (batch,) = recipe.build_data().batches(start_step=0, stop_step=1)
    model.loss(batch).total().backward()
    idle = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert idle == []
    # Of CLIP's sentences the end token is what sees all of it; the start token would be the same for each.
    model.eval()
    assert not torch.equal(*model.texts(["a cat", "a dog"]))


def test_what_cannot_be_begun_from_is_refused(saved, tmp_path):
    with pytest.raises(InputError, match="without a class token"):
        load_image_encoder(str(saved / "dinov2"), stride=8, whole=True)
    with pytest.raises(CheckpointError, match=r"words alone \(BERT\)"):
        load_image_encoder(str(saved / "bert"), stride=8, whole=False)
    with pytest.raises(CheckpointError, match="images alone"):
        load_text_encoder(str(saved / "vit"), max_tokens=25)
    other = tmp_path / "run"
    other.mkdir()
    (other / "recipe.json").write_text('{"format": 1, "name": "simformer/tiny", "settings": {}}')
    for load in (
        lambda: load_image_encoder(str(other), stride=8, whole=False),
        lambda: load_text_encoder(str(other), max_tokens=25),
    ):
        with pytest.raises(InputError, match="a run of simformer/tiny"):
            load()
    (other / "recipe.json").write_text('{"format": 1, "name": "simseg/tiny", "settings": {}}')
    with pytest.raises(CheckpointError, match="expected weights that lexiseg train wrote"):
        load_image_encoder(str(other), stride=8, whole=False)


def test_published_text_encoders_give_their_own_tokens(saved):
    import transformers

    text = "a photo of a cat"
    bert = load_text_encoder(str(saved / "bert"), max_tokens=25).eval()
    theirs = transformers.BertModel.from_pretrained(saved / "bert", add_pooling_layer=False).eval()
    clip = load_text_encoder(str(saved / "clip"), max_tokens=60).eval()
    clips = transformers.CLIPTextModel.from_pretrained(saved / "clip").eval()
    for ours, published in ((bert, theirs), (clip, clips)):
        kind = "bert" if ours is bert else "clip"
        ids = torch.tensor(load_caption_tokenizer(str(saved / kind)).ids([text], 60))
        with torch.inference_mode():
            tokens, seen = ours([text, "a"], pad_to_max_length=True)
            expected = published(ids).last_hidden_state[0]
        torch.testing.assert_close(tokens[0, seen[0]], expected, rtol=1e-4, atol=1e-4)


def test_variants_of_bert_and_damaged_tokenizers_are_refused(tmp_path):
    folder = save_tiny_bert(tmp_path / "narrow", intermediate_size=64)
    with pytest.raises(CheckpointError, match=r"intermediate_size 64.*intermediate_size 128"):
        load_text_encoder(str(folder), max_tokens=25)
    folder = save_tiny_bert(tmp_path / "relu")
    change_json(folder / "config.json", hidden_act="relu")
    with pytest.raises(CheckpointError, match="hidden_act 'relu'"):
        load_text_encoder(str(folder), max_tokens=25)
    assert load_text_encoder(str(save_tiny_bert(tmp_path / "b")), max_tokens=99).shape.max_tokens == 40


def test_parameters_that_tokens_do_not_depend_on_are_frozen(saved):
    clip = load_image_encoder(str(saved / "clip"), stride=8, whole=False)
    frozen = {name for name, value in clip.named_parameters() if not value.requires_grad}
    last = "vision.encoder.layers.2."
    assert frozen
    assert all(name.startswith(last) for name in frozen)
    assert not any("v_proj" in name or "out_proj" in name for name in frozen)
