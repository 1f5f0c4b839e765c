import contextlib
import io
import json
import pickle
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lexiseg.cli import main
from lexiseg.core.errors import CheckpointError, InputError, OutputError
from lexiseg.core.folder_lock import writing_alone
from lexiseg.models import convert_worker
from lexiseg.models.clip import load_clip
from lexiseg.models.convert import convert_folder
from tiny_checkpoints import save_tiny_clip, write_json


class RunsCode:
    """A pickle of this calls print when it is opened without care."""

    def __reduce__(self):
        return print, ("the pickle ran code",)


def tensors() -> dict[str, torch.Tensor]:
    shared = torch.arange(6.0).reshape(2, 3)
    return {
        "a": shared,
        "b": shared,  # one memory, two names
        "turned": torch.arange(12.0).reshape(3, 4).T,
        "half": torch.tensor([1.5, float("nan")], dtype=torch.float16),
        "whole": torch.arange(5)[None],
        "scalar": torch.tensor(4.6),
    }


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        torch.testing.assert_close(found[name], value, rtol=0, atol=0, equal_nan=True)


@pytest.fixture
def in_this_process(monkeypatch):
    """Convert without a process of its own, which costs seconds; two tests below have one."""

    def run(command, **options):
        said, code = io.StringIO(), 0
        with contextlib.redirect_stdout(said):
            try:
                convert_worker.main(command[3:])
            except SystemExit as stop:
                code = stop.code
        return subprocess.CompletedProcess(command, code, said.getvalue(), "")

    monkeypatch.setattr(subprocess, "run", run)


#: Files of one folder to convert, and the safetensors that come of them.
LAYOUTS = {
    "transformers": (["pytorch_model.bin"], ["model.safetensors"]),
    "diffusers": (["diffusion_pytorch_model.bin"], ["diffusion_pytorch_model.safetensors"]),
    "a half-precision copy alone": (["pytorch_model.fp16.bin"], ["model.fp16.safetensors"]),
    "shards": (
        ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"],
        ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
    ),
    "one shard": (["pytorch_model-00001-of-00001.bin"], ["model-00001-of-00001.safetensors"]),
}


def save_pickles(folder: Path, files: list[str]) -> dict[str, torch.Tensor]:
    whole = tensors()
    folder.mkdir(parents=True, exist_ok=True)
    weight_map = {}
    for number, file in enumerate(files):
        part = {name: whole[name] for name in sorted(whole)[number :: len(files)]}
        torch.save(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    if "-of-" in files[0]:
        write_json(folder / "pytorch_model.bin.index.json", {"weight_map": weight_map})
    return whole


def test_every_layout_arrives_whole_and_is_recorded(tmp_path, monkeypatch):
    """As the parts of one folder: a process costs seconds."""
    monkeypatch.setenv("HF_TOKEN", "secret")
    passed, run = {}, subprocess.run
    monkeypatch.setattr(
        subprocess, "run", lambda *given, **named: passed.update(named) or run(*given, **named)
    )
    whole = {layout: save_pickles(tmp_path / layout, read) for layout, (read, _) in LAYOUTS.items()}
    save_pickles(tmp_path / "transformers", ["pytorch_model.fp16.bin"])  # the full one is there too
    done = convert_folder(tmp_path)
    names = {layout: [f"{layout}/{file}" for file in written] for layout, (_, written) in LAYOUTS.items()}
    assert {file.name for file in done.written} == {name for some in names.values() for name in some}
    for layout, files in names.items():
        found = {name: value for file in files for name, value in load_file(tmp_path / file).items()}
        assert_equal(found, whole[layout])
        if "shard" in layout:
            index = json.loads((tmp_path / layout / "model.safetensors.index.json").read_text())["weight_map"]
            assert index.keys() == whole[layout].keys()
            assert {f"{layout}/{file}" for file in index.values()} == set(files)
    record = json.loads((tmp_path / "converted.json").read_text())
    assert [file["name"] for file in record["written"]] == [file.name for file in done.written]
    assert all(len(file["sha256"]) == 64 and file["bytes"] > 0 for file in record["read"] + record["written"])
    assert "HF_TOKEN" not in passed["env"]
    with pytest.raises(CheckpointError, match="found safetensors already"):
        convert_folder(tmp_path / "diffusers")


def test_a_conversion_that_was_stopped_anywhere_ends_like_any_other(tmp_path, in_this_process):
    for layout, (read, _) in LAYOUTS.items():
        save_pickles(tmp_path / layout, read)

    def contents() -> dict[str, bytes]:
        return {
            str(path.relative_to(tmp_path)): path.read_bytes()
            for path in tmp_path.rglob("*")
            if path.is_file()
        }

    done = convert_folder(tmp_path)
    whole = contents()
    assert convert_folder(tmp_path) == done
    # the index of shards is written last
    for lost in (["diffusers/diffusion_pytorch_model.safetensors"],
                 [name for name in whole if "safetensors" in name and not name.startswith("diffusers")],
                 ["shards/model.safetensors.index.json"], ["converted.json", "transformers/model.safetensors"]):  # fmt: skip
        for name in lost:
            (tmp_path / name).unlink()
        again = convert_folder(tmp_path)
        assert {name: content for name, content in contents().items() if name != "converted.json"} == {
            name: content for name, content in whole.items() if name != "converted.json"
        }
        assert lost[0] == "converted.json" or set(again.written) == set(done.written)


def test_two_conversions_of_one_folder_are_kept_apart(tmp_path, in_this_process):
    save_pickles(tmp_path, ["pytorch_model.bin"])
    with writing_alone(tmp_path), pytest.raises(InputError, match="another run that writes there now"):
        convert_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pytorch_model.bin"]


def test_a_converted_checkpoint_loads_and_the_command_says_what_it_did(tmp_path, capsys, in_this_process):
    folder = save_tiny_clip(tmp_path / "clip")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with contextlib.suppress(SystemExit):
        main(["convert", str(folder)])
    said = capsys.readouterr().out
    assert f"{folder / 'model.safetensors'}  {len(weights)} tensors  " in said
    assert f"recorded in {folder / 'converted.json'}" in said
    assert_equal(load_file(folder / "model.safetensors"), weights)
    assert load_clip(folder)


#: What stands in place of tensors, and what is said of it.
REFUSED = {
    "code": (
        lambda file: torch.save(RunsCode(), file),
        "a pickle that holds more than tensors: it asks for ",
    ),
    "code, pickled plainly": (
        lambda file: file.write_bytes(pickle.dumps(RunsCode(), protocol=2)),
        "a pickle that holds more than tensors: it asks for ",
    ),
    "a list": (lambda file: torch.save([torch.ones(2)], file), "a list instead of tensors by name"),
    "training state": (
        lambda file: torch.save({"state_dict": {"a": torch.ones(2)}, "epoch": 3}, file),
        "no tensors under state_dict, epoch",
    ),
    "nothing": (lambda file: torch.save({}, file), "no tensors at all"),
    "half a file": (
        lambda file: (torch.save(tensors(), file), file.write_bytes(file.read_bytes()[:500])),
        r"no whole file of torch.save \(RuntimeError: ",
    ),
    "rubbish": (lambda file: file.write_bytes(b"rubbish"), r"no whole file of torch.save \("),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_tensors_by_name_is_refused(kind, tmp_path, capsys):
    write, said = REFUSED[kind]
    file = tmp_path / "pytorch_model.bin"
    write(file)
    with pytest.raises(convert_worker.UnusableFileError, match=said):
        convert_worker.convert(str(file), str(tmp_path / "written"))
    assert "the pickle ran code" not in capsys.readouterr().out


@pytest.mark.exhaustive
def test_one_bad_file_among_good_ones_is_named_and_nothing_is_left(tmp_path, capfd):
    read, _ = LAYOUTS["shards"]
    save_pickles(tmp_path, read)
    torch.save(RunsCode(), tmp_path / read[1])
    before = {file.name for file in tmp_path.iterdir()}
    with pytest.raises(CheckpointError) as caught:
        convert_folder(tmp_path)
    assert str(caught.value).startswith(
        f"converting {tmp_path / read[1]}: found a pickle that holds more than tensors: it asks for "
    )
    assert {file.name for file in tmp_path.iterdir()} == before
    assert "the pickle ran code" not in "".join(capfd.readouterr())


def test_a_shard_that_the_index_does_not_know_is_refused(tmp_path, in_this_process):
    read, _ = LAYOUTS["shards"]
    save_pickles(tmp_path, read)
    (tmp_path / read[1]).unlink()
    with pytest.raises(CheckpointError, match=r"other tensors than pytorch_model.bin.index.json lists \(b, "):
        convert_folder(tmp_path)
    assert not list(tmp_path.glob("*.safetensors*"))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], "found no pytorch_model.bin"),
        (["sam_vit_b_01ec64.pth"], "found sam_vit_b_01ec64.pth, which is in the authors' own layout"),
        (["open_clip_pytorch_model.bin"], "found OpenCLIP's layout"),
    ],
)
def test_a_folder_with_nothing_to_convert_is_told_so(files, said, tmp_path):
    for file in files:
        (tmp_path / file).write_bytes(b"x")
    with pytest.raises(CheckpointError, match=said):
        convert_folder(tmp_path)


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path, monkeypatch):
    save_pickles(tmp_path, ["pytorch_model.bin"])

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lexiseg.models.convert.subprocess.run", full)
    with pytest.raises(
        OutputError, match=r"No space left on device.* Copy the checkpoint to a folder of your own"
    ):
        convert_folder(tmp_path)
