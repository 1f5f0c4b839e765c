import json
import re
import shlex
import shutil
import sys
import types
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lexiseg.core.errors import CheckpointError, WeightsError
from lexiseg.models import checkpoint
from lexiseg.models.checkpoint import (
    build_model,
    check_checkpoint,
    fingerprint,
    read_config,
    torchvision_problem,
    transformers_class,
)
from lexiseg.models.clip import load_clip
from tiny_checkpoints import as_hub_cache, change_json, save_tiny_clip, write_json


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "clip"
    save_tiny_clip(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    return shutil.copytree(whole, tmp_path / "clip")


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_clip(folder)
    return str(caught.value)


def test_missing_and_misshaped_and_superfluous_tensors_are_listed_with_both_sides(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["text_projection.weight"]
    tensors["visual_projection.weight"] = tensors["visual_projection.weight"][:-1].clone()
    tensors["vision_model.encoder.layers.3.mlp.fc1.bias"] = torch.zeros(4)
    tensors["logit_scale"] = torch.tensor(4, dtype=torch.int8)
    save_file(tensors, folder / "model.safetensors")
    assert refusal(folder) == (
        f"comparing the tensors in {folder} with its config.json: found 4 that do not fit:\n"
        "  logit_scale: file I8 numbers, model one of F64, F32, F16, BF16\n"
        "  visual_projection.weight: file (19, 32), model (20, 32)\n"
        "  text_projection.weight: file nothing, model (20, 24)\n"
        "  vision_model.encoder.layers.3.mlp.fc1.bias: file (4,), model nothing\n"
        "; expected every tensor of the model once, in its shape. Download the checkpoint again, or take "
        "config.json and the weights from the same place; nothing was loaded."
    )


def test_a_long_difference_is_shortened(folder):
    vision = json.loads((folder / "config.json").read_text())["vision_config"]
    change_json(folder / "config.json", vision_config={**vision, "hidden_size": 64})
    message = refusal(folder)
    count = int(re.search(r"found (\d+) that do not fit", message)[1])
    assert count > 40
    assert f"… and {count - 6} more" in message
    assert message.count(": file ") == 6


@pytest.mark.parametrize("kept", [0, 5, 200, -1, -1000])
def test_a_truncated_file_is_refused(folder, kept):
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:kept])
    message = refusal(folder)
    assert message.startswith(f"reading {file}: found {len(whole[:kept]):,} bytes that are not whole (")
    assert message.endswith("Download or copy it again; the last attempt may have been cut off.")


def test_a_folder_with_only_a_pickle_is_refused_and_the_command_for_it_named(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    message = refusal(folder)
    assert message.startswith(
        f"looking for weights in {folder}: found only pytorch_model.bin, which is a pickle;"
    )
    assert "a pickle can run code when it is opened and is not loaded here" in message
    assert shlex.split(message[message.index("lexiseg convert") :]) == ["lexiseg", "convert", str(folder)]


def test_a_pickle_beside_safetensors_is_never_opened(folder):
    (folder / "pytorch_model.bin").write_bytes(b"not even a pickle")
    assert load_clip(folder)


def test_no_weights_at_all(folder):
    (folder / "model.safetensors").unlink()
    message = refusal(folder)
    assert message.startswith(
        f"reading {folder / 'model.safetensors'}: found no such file; expected a folder"
    )


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (
            None,
            r"no such file \(the folder holds: model.safetensors, preprocessor_config.json, tokenizer.json, ",
        ),
        ("{", r"text that cannot be read \(Expecting property name"),
        ("[]", "a JSON list"),
        ('{"model_type": "gpt2"}', "model_type 'gpt2'; expected one of: clip"),
        ("{}", "model_type None; expected one of: clip"),
    ],
)
def test_an_unusable_config_is_refused(folder, content, found):
    (folder / "config.json").unlink()
    if content is not None:
        (folder / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=f"found {found}") as caught:
        load_clip(folder)
    assert str(folder / "config.json") in str(caught.value)


def test_a_config_that_makes_no_network_is_refused(folder):
    vision = json.loads((folder / "config.json").read_text())["vision_config"]
    change_json(folder / "config.json", vision_config={**vision, "patch_size": 0})
    assert "config.json: found settings that make no network (" in refusal(folder)


def test_supported_types_are_named(folder):
    change_json(folder / "config.json", model_type="clip_vision_model")
    with pytest.raises(
        CheckpointError,
        match=r"found model_type 'clip_vision_model', which gives images alone, CLIP without its text encoder; "
        r"expected one of: clip, siglip\. Choose a checkpoint of one of these types, such as openai/",
    ):
        read_config(folder, ("siglip", "clip"))


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_link_that_leaves_the_folder_is_refused(folder, tmp_path, file):
    outside = tmp_path / "outside"
    shutil.move(folder / file, outside)
    (folder / file).symlink_to(outside)
    assert refusal(folder) == (
        f"opening the checkpoint {folder}: found {file}, a link to {outside}; expected files inside the "
        "folder (or links inside one model's hub cache). Copy the file in place of the link if you trust it."
    )


def test_links_inside_the_folder_and_a_link_to_the_folder_are_fine(folder, tmp_path):
    (folder / "model.safetensors").rename(folder / "weights")
    (folder / "model.safetensors").symlink_to("weights")
    (tmp_path / "alias").symlink_to(folder)
    assert load_clip(tmp_path / "alias")


def test_the_layout_of_the_hubs_cache_is_fine_but_not_links_to_another_model(whole, tmp_path):
    snapshot = as_hub_cache(whole, tmp_path, "someone/tiny")
    assert load_clip(snapshot)
    other = as_hub_cache(whole, tmp_path, "someone/other")
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to(other / "model.safetensors")
    assert "found model.safetensors, a link to" in refusal(snapshot)


@pytest.mark.parametrize("weight_map", [{"a": "../model.safetensors"}, {"a": "/etc/passwd"}, {}, None, "x"])
def test_an_index_may_only_name_files_of_its_folder(folder, weight_map):
    write_json(folder / "model.safetensors.index.json", {"weight_map": weight_map})
    assert (
        "model.safetensors.index.json: found no weight_map from tensors to files of this folder"
        in refusal(folder)
    )


def test_a_missing_shard_is_named(folder):
    index = {"weight_map": {"logit_scale": "model-00001-of-00002.safetensors"}}
    write_json(folder / "model.safetensors.index.json", index)
    message = refusal(folder)
    assert message.startswith(
        f"reading {folder / 'model-00001-of-00002.safetensors'}: found no such file, though"
    )


def test_checking_gives_the_file_of_every_tensor(folder):
    expected = {"logit_scale": (), "visual_projection.weight": (20, 32)}
    with pytest.raises(CheckpointError, match="model nothing"):
        check_checkpoint(folder, expected)
    save_file(
        {"logit_scale": torch.tensor(1.0), "visual_projection.weight": torch.zeros(20, 32)}, folder / "x"
    )
    (folder / "x").replace(folder / "model.safetensors")
    assert check_checkpoint(folder, expected) == dict.fromkeys(expected, folder / "model.safetensors")


def test_every_parameter_comes_from_the_file(whole):
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig.from_pretrained(whole)
    model = build_model(whole, lambda: CLIPModel(config))
    tensors = load_file(whole / "model.safetensors")
    state = model.state_dict()
    assert state.keys() == tensors.keys()
    assert all(torch.equal(state[name], tensors[name]) for name in tensors)


def test_the_fingerprint_sees_values_names_shapes_and_words():
    def linear(value: float) -> nn.Linear:
        layer = nn.Linear(2, 3, bias=False)
        nn.init.constant_(layer.weight, value)
        return layer

    prints = {
        fingerprint(linear(1.0)),
        fingerprint(linear(2.0)),
        fingerprint(nn.Sequential(linear(1.0))),
        fingerprint(linear(1.0), "ab", "c"),
        fingerprint(linear(1.0), "a", "bc"),
        fingerprint(linear(1.0).half()),
    }
    assert len(prints) == 6
    assert fingerprint(linear(1.0)) == fingerprint(linear(1.0))


def test_a_broken_torchvision_is_named_with_its_cure(monkeypatch, tmp_path):
    import transformers

    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    assert torchvision_problem() == "RuntimeError: operator torchvision::nms does not exist"

    class Broken(types.ModuleType):
        __version__ = transformers.__version__

        def __getattr__(self, name: str) -> object:
            raise ModuleNotFoundError(f"Could not import module '{name}'")

    monkeypatch.setitem(sys.modules, "transformers", Broken("transformers"))
    with pytest.raises(WeightsError) as caught:
        transformers_class("CLIPModel")
    assert "found a torchvision that does not work (RuntimeError: operator torchvision::nms" in str(
        caught.value
    )
    assert str(caught.value).endswith("Run: pip uninstall torchvision")


def test_without_torchvision_there_is_no_problem(monkeypatch):
    monkeypatch.setattr(checkpoint.importlib.util, "find_spec", lambda name: None)
    assert torchvision_problem() is None


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "unrelated"])
def test_a_link_to_itself_is_refused(folder, file):
    (folder / file).unlink(missing_ok=True)
    (folder / file).symlink_to(file)
    assert f"reading {folder / file}: found a link that leads nowhere (" in refusal(folder)


@pytest.mark.parametrize("content", ["[" * 200_000, '{"a":' * 200_000])
def test_settings_nested_without_end_are_refused(folder, content):
    (folder / "config.json").write_text(content)
    assert "config.json: found text that cannot be read (lists or objects nested" in refusal(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_tensor_with_numbers_that_are_not_finite_is_refused(folder, value):
    tensors = load_file(folder / "model.safetensors")
    tensors["visual_projection.weight"][3, 5] = value
    save_file(tensors, folder / "model.safetensors")
    assert refusal(folder).startswith(
        f"reading the tensors in {folder}: found numbers that are NaN or infinite in 1: visual_projection.weight;"
    )


def test_large_finite_numbers_whose_sum_overflows_are_fine(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["visual_projection.weight"][:] = 3e38
    save_file(tensors, folder / "model.safetensors")
    assert load_clip(folder)


def test_a_tensor_in_two_files_is_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    shards = {f"model-0000{number}-of-00002.safetensors" for number in (1, 2)}
    first, second = sorted(shards)
    save_file(tensors, folder / first)
    save_file({"logit_scale": tensors["logit_scale"] + 1}, folder / second)
    index = {"weight_map": {**dict.fromkeys(tensors, first), "logit_scale": second}}
    write_json(folder / "model.safetensors.index.json", index)
    assert f"found 1 that do not fit:\n  logit_scale: in {first} and in {second}\n" in refusal(folder)


# What people give where weights are wanted, and what has to be said of it.
OTHER_FOLDERS = {
    "OpenCLIP": (
        {"open_clip_config.json": "{}", "open_clip_pytorch_model.bin": "", "README.md": ""},
        r"found OpenCLIP's layout \(open_clip_config.json, open_clip_pytorch_model.bin\); expected transformers' layout"
        r".* Take one that has transformers' layout too: laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
    ),
    "OpenCLIP beside a config.json": (
        {"config.json": '{"model_type": "clip"}', "open_clip_model.safetensors": ""},
        r"found OpenCLIP's layout \(open_clip_model.safetensors\)",
    ),
    "a pipeline": (
        {"model_index.json": '{"_class_name": "StableDiffusionPipeline"}'},
        r"found no such file \(the folder is a pipeline of diffusers \(StableDiffusionPipeline\), whose networks",
    ),
    "an adapter": ({"adapter_config.json": "{}"}, r"the folder is an adapter \(adapter_config.json\)"),
    "SAM": (
        {"config.json": '{"model_type": "sam"}'},
        r"found model_type 'sam', which gives masks under points \(SAM\); expected one of: clip\.",
    ),
    "SAM 2": ({"config.json": '{"model_type": "sam2_video"}'}, r"which gives masks under points \(SAM 2\)"),
    "timm": (
        {"config.json": '{"architecture": "vit_base"}'},
        r"found model_type None; expected one of: clip\.",
    ),
    "an authors' pickle": (
        {"config.json": '{"model_type": "clip"}', "ViT-B-16.pt": ""},
        r"found only ViT-B-16.pt, which is a pickle; .* Choose the checkpoint in transformers' layout",
    ),
    "two pickles": (
        {
            "config.json": '{"model_type": "clip"}',
            **dict.fromkeys(["pytorch_model.bin", "pytorch_model.fp16.bin"], ""),
        },
        r"found only pytorch_model.bin, pytorch_model.fp16.bin, which are pickles; .* lexiseg convert ",
    ),
    "nothing": ({}, r"found no such file \(the folder holds: nothing\)"),
}


@pytest.mark.parametrize("kind", OTHER_FOLDERS)
def test_another_kind_of_folder_is_said_to_be_one(kind, tmp_path):
    files, said = OTHER_FOLDERS[kind]
    for file, content in files.items():
        (tmp_path / file).write_text(content)
    assert re.search(said, refusal(tmp_path)), refusal(tmp_path)


@pytest.mark.parametrize("name", ["text_model.embeddings.position_idx", "position_ids", "x.position_ids"])
def test_what_looks_like_positions_and_is_none_of_the_family_is_superfluous(folder, name):
    tensors = load_file(folder / "model.safetensors")
    tensors[name] = torch.arange(4)
    save_file(tensors, folder / "model.safetensors")
    assert f"found 1 that do not fit:\n  {name}: file (4,), model nothing" in refusal(folder)


@pytest.mark.parametrize(
    ("index", "shards"),
    [
        ("model.safetensors.index.fp16.json", ["model-00001-of-00002.fp16", "model-00002-of-00002.fp16"]),
        ("model.fp16.safetensors.index.json", ["model.fp16-00001-of-00002", "model.fp16-00002-of-00002"]),
        ("model.safetensors.index.json", ["model-00001-of-00002", "model-00002-of-00002"]),
    ],
)
def test_shards_load_whole_also_of_a_half_precision_copy(folder, index, shards):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names, weight_map = sorted(tensors), {}
    for number, shard in enumerate(shards):
        part = {name: tensors[name] for name in names[number::2]}
        save_file(part, folder / f"{shard}.safetensors")
        weight_map |= dict.fromkeys(part, f"{shard}.safetensors")
    write_json(folder / index, {"weight_map": weight_map})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert load_clip(folder)
    assert any("only as a fp16 copy" in str(one.message) for one in said) == ("fp16" in index)


def test_the_full_precision_file_goes_before_its_copies(folder):
    for file in ("model.fp16.safetensors", "model.bf16.safetensors", "model.safetensors.index.fp16.json"):
        (folder / file).write_bytes(b"not to be opened")
    assert load_clip(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"text_config": {"num_hidden_layers": 10**9}}, {"depths": [2, 10**6]}, {"vision_config": {"hidden_size": 2**40}},
        {"global_attn_indexes": [0] * 20_000}, {"num_hidden_layers": -(10**9)},
    ],
    ids=str,
)  # fmt: skip
def test_numbers_by_which_a_network_would_be_built_for_hours_are_refused(folder, change):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(CheckpointError, match=r"config\.json: found (text|num|depths|hidden|global)"):
        read_config(folder, (config["model_type"],))
