import http.server
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

import lexiseg
from fresh_process import call
from lexiseg.core.errors import CheckpointError, MissingWeightsError
from lexiseg.models.hub import (
    KNOWN_WEIGHTS,
    _conversion,
    is_cached,
    is_hub_id,
    resolve_checkpoint,
    split_revision,
)
from lexiseg.models.hub_files import FILES_SEEN, OPENCLIP_ONLY, how_to_get
from lexiseg.models.weight_facts import FACTS
from lexiseg.models.weight_files import TRANSFORMERS_CLIPS, wanted_weights
from tiny_checkpoints import as_hub_cache, save_tiny_clip

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONVERTED = "c0ffee" + COMMIT[6:]
COMMIT_REST = {"authors": [], "date": "2024-01-01T00:00:00.000Z", "title": "", "message": ""}
PULL_REQUEST = {
    "num": 7,
    "title": "Adding `safetensors` variant of this model",
    "author": {"name": "SFconvertbot"},
    "repo": {"name": "someone/tiny", "type": "model"},
    "status": "open",
    "isPullRequest": True,
    "createdAt": "2024-01-01T00:00:00.000Z",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "clip"
    save_tiny_clip(folder)
    return folder


def resolve(name: str, *, function: str = "hub.resolve_checkpoint", **environment: str) -> str:
    """Resolve in a fresh process: the hub's client reads its environment when it is imported."""
    source = str(Path(lexiseg.__file__).parents[1])
    place = {"PYTHONPATH": source, "PATH": "", "HOME": "/nonexistent", **environment}
    answer, said = call(f"lexiseg.models.{function}", name, place)
    warned = [line for line in said if line.startswith("someone/")]
    return "|".join([answer.splitlines()[-1], *warned])


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_folder_is_taken_as_it_is(folder, monkeypatch):
    assert resolve_checkpoint(str(folder)) == folder
    monkeypatch.chdir(folder.parent)
    assert resolve_checkpoint("clip") == Path("clip")


@pytest.mark.parametrize(
    "name",
    [
        "./nowhere",
        "nowhere",
        "a/b/c",
        "/no/such/folder",
        "../x",
        "~nobody/x",
        "a b/c",
        "x" * 5000,
        "a--b/c",
        "foo..bar/x",
        "-a/b",
        "a/b.git",
        f"{'x' * 150}/{'y' * 150}",
        ".a/b",
        "a/",
    ],
)
def test_what_is_neither_a_folder_nor_a_hub_id_is_refused_at_once(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingWeightsError) as caught:
        resolve_checkpoint(name)
    assert str(caught.value) == (
        f"loading the weights of {name}: found no folder of that name; expected a folder with config.json "
        "and model.safetensors, or a hub id such as openai/clip-vit-base-patch16. Check the spelling and the "
        "folder you are in."
    )


def test_a_file_is_not_a_folder(folder):
    with pytest.raises(MissingWeightsError, match="found a file; expected a folder with config"):
        resolve_checkpoint(str(folder / "model.safetensors"))


def test_without_network_and_weights_the_error_says_what_how_big_and_how_to_get_it(tmp_path):
    begun = time.monotonic()
    endpoint = f"http://127.0.0.1:{closed_port()}"
    answer = resolve("openai/clip-vit-base-patch16", HF_HOME=str(tmp_path), HF_ENDPOINT=endpoint)
    assert time.monotonic() - begun < 30
    kind, message = answer.split("|", 1)
    assert kind == "MissingWeightsError"
    assert message.startswith(
        "loading the weights of openai/clip-vit-base-patch16: found no folder of that name, "
        f"no copy in {tmp_path}/hub, and the hub gave no model (ConnectError: "
    )
    assert "(about 598 MB, licence MIT)" in message
    assert "run: lexiseg convert openai/clip-vit-base-patch16." in message
    assert "HF_HOME or LEXISEG_CACHE say where it is" in message
    assert "copy the model's folder and give its path" in message


def test_offline_mode_is_respected_and_said(tmp_path):
    answer = resolve("someone/unknown", HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert "no copy in" in answer
    assert "HF_HUB_OFFLINE is set, so the hub was not asked" in answer
    assert "(size and licence on its hub page)" in answer


def test_a_copy_in_the_cache_is_used_without_asking_the_hub(folder, tmp_path):
    snapshot = as_hub_cache(folder, tmp_path, "someone/tiny")
    endpoint = f"http://127.0.0.1:{closed_port()}"
    assert resolve("someone/tiny", HF_HOME=str(tmp_path), HF_ENDPOINT=endpoint) == str(snapshot)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_an_unfinished_download_is_told_from_none(folder, tmp_path, missing):
    snapshot = as_hub_cache(folder, tmp_path, "someone/tiny")
    (snapshot / missing).unlink()
    answer = resolve("someone/tiny", HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert "an unfinished download in" in answer


def test_an_unfinished_download_of_several_files_is_noticed(folder, tmp_path):
    snapshot = as_hub_cache(folder, tmp_path, "someone/tiny")
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    answer = resolve("someone/tiny", HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert "an unfinished download in" in answer


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub's protocol as a download needs."""

    folder: Path
    files: list[str]
    asked: list[str]
    pull_request: dict | None = None
    parent = COMMIT

    def _files(self, path: str) -> list[str]:
        converted = "pr%2F" in path or CONVERTED in path
        return [*self.files, "model.safetensors"] if converted else self.files

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if match := re.fullmatch(rf"/someone/tiny/resolve/(?:{COMMIT}|{CONVERTED})/(.*)", path):
            body = (self.folder / match[1]).read_bytes()
            self.asked.append(match[1])
            commit = CONVERTED if CONVERTED in path else COMMIT
            self._answer(200, body, ETag=f'"{match[1]}"', **{"X-Repo-Commit": commit})
        elif path.startswith("/api/models/someone/tiny/discussions"):
            found = [self.pull_request] if self.pull_request else []
            self._answer(200, json.dumps({"discussions": found, "count": len(found), "start": 0}).encode())
        elif path.startswith("/api/models/someone/tiny/commits/"):
            commits = [{"id": commit, **COMMIT_REST} for commit in (CONVERTED, self.parent)]
            self._answer(200, json.dumps(commits).encode())
        elif path.startswith("/api/models/someone/tiny/tree/"):
            entries = [
                {"type": "file", "path": file, "size": (self.folder / file).stat().st_size, "oid": "0" * 40}
                for file in self._files(path)
            ]
            self._answer(200, json.dumps(entries).encode())
        elif path.startswith("/api/models/someone/tiny"):
            siblings = [{"rfilename": file} for file in self._files(path)]
            commit = CONVERTED if "pr%2F" in path or CONVERTED in path else COMMIT
            self._answer(
                200, json.dumps({"id": "someone/tiny", "sha": commit, "siblings": siblings}).encode()
            )
        else:
            self._answer(404, b"{}", **{"X-Error-Code": "RepoNotFound"})

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub(folder) -> Iterator[tuple[str, type[Hub]]]:
    names = [
        *(file.name for file in folder.iterdir()),
        "pytorch_model.bin",
        "flax_model.msgpack",
        "README.md",
    ]
    handler = type("Handler", (Hub,), {"folder": folder, "files": sorted(names), "asked": []})
    for extra in ("pytorch_model.bin", "flax_model.msgpack", "README.md"):
        (folder / extra).write_bytes(b"x")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()
    for extra in ("pytorch_model.bin", "flax_model.msgpack", "README.md"):
        (folder / extra).unlink()


def test_a_download_fetches_settings_and_safetensors_only(folder, hub, tmp_path):
    from lexiseg.models.clip import load_clip

    endpoint, handler = hub
    environment = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1"}
    answer, said = resolve("someone/tiny", **environment).split("|")
    assert said == f"someone/tiny: revision {COMMIT}"
    snapshot = Path(answer)
    assert snapshot.is_relative_to(tmp_path)
    wanted = {file for file in handler.files if file.endswith((".json", ".safetensors"))}
    assert {file.name for file in snapshot.iterdir()} == set(handler.asked) == wanted
    assert load_clip(snapshot)
    again = resolve("someone/tiny", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert again == str(snapshot)


def test_a_model_that_is_on_the_hub_only_as_a_pickle_is_refused_before_the_download(hub, tmp_path):
    endpoint, handler = hub
    handler.files = ["config.json", "pytorch_model.bin"]
    answer = resolve("someone/tiny", HF_HOME=str(tmp_path), HF_ENDPOINT=endpoint)
    kind, message = answer.split("|", 1)
    assert kind == CheckpointError.__name__
    assert (
        "found no model.safetensors on the hub, only pytorch_model.bin; expected weights in safetensors"
        in message
    )
    assert message.endswith("Convert it once, where you trust its source: lexiseg convert someone/tiny")
    assert not handler.asked


def test_a_name_the_hub_does_not_have_is_said_to_be_unknown_there(hub, tmp_path):
    endpoint, _ = hub
    answer = resolve("someone/typo", HF_HOME=str(tmp_path), HF_ENDPOINT=endpoint)
    assert answer.startswith(
        "MissingWeightsError|loading the weights of someone/typo: found no folder of that name"
    )
    assert "the hub gave no model (RepositoryNotFoundError: " in answer


def test_whether_a_model_is_here_is_known_without_the_hub(folder, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert not is_cached("someone/tiny")
    snapshot = as_hub_cache(folder, tmp_path, "someone/tiny")
    assert is_cached("someone/tiny")
    assert resolve_checkpoint("someone/tiny") == snapshot
    (snapshot / "model.safetensors").unlink()
    assert not is_cached("someone/tiny")


def test_known_weights_have_a_size_and_a_licence_and_their_files_were_seen():
    assert "openai/clip-vit-base-patch16" in KNOWN_WEIGHTS
    assert all(known.megabytes > 100 for known in KNOWN_WEIGHTS.values())
    assert set(KNOWN_WEIGHTS) <= set(FACTS)
    unseen = {name for name in KNOWN_WEIGHTS if name not in FILES_SEEN}
    assert unseen == {"nvidia/groupvit-gcc-redcaps", "nvidia/groupvit-gcc-yfcc"}  # the only ones published
    assert not KNOWN_WEIGHTS.keys() & set(OPENCLIP_ONLY)
    assert all(seen.weights and seen.seen for seen in FILES_SEEN.values())
    assert not any(FILES_SEEN[name].is_pickle_only for name in TRANSFORMERS_CLIPS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b", ("a/b", None)),
        ("a/b@main", ("a/b", "main")),
        ("a/b@refs/pr/3", ("a/b", "refs/pr/3")),
        ("a/b@", ("a/b", None)),
    ],
)
def test_a_revision_stands_behind_the_id(name, expected):
    assert split_revision(name) == expected
    assert is_hub_id(name) == (not name.endswith("@"))


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("openai/clip-vit-base-patch16", "lexiseg convert openai/clip-vit-base-patch16"),
        (
            "openai/clip-vit-base-patch16@refs/pr/3",
            "hf download openai/clip-vit-base-patch16 --revision refs/pr/3",
        ),
        ("openai/clip-vit-large-patch14", "hf download openai/clip-vit-large-patch14"),
        ("someone/unknown", "hf download someone/unknown"),
    ],
)
def test_the_command_that_fetches_fetches_safetensors(name, command):
    assert how_to_get(name) == command


#: Files of a repository's root, and those of its weights that are fetched.
LISTINGS = {
    "one file": (["model.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
    "a copy beside it": (["model.fp16.safetensors", "model.safetensors"], ["model.safetensors"]),
    "a copy alone": (["model.fp16.safetensors", "pytorch_model.bin"], ["model.fp16.safetensors"]),
    "shards": (
        [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
        ],
        [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
        ],
    ),
    "shards of two precisions": (
        [
            "model-00001-of-00001.safetensors",
            "model.fp16-00001-of-00001.safetensors",
            "model.safetensors.index.json",
            "model.safetensors.index.fp16.json",
        ],
        ["model-00001-of-00001.safetensors", "model.safetensors.index.json"],
    ),
    "OpenCLIP's": (["open_clip_model.safetensors", "open_clip_pytorch_model.bin"], []),
    "a pickle": (["pytorch_model.bin", "tf_model.h5", "flax_model.msgpack"], []),
}


@pytest.mark.parametrize("listing", LISTINGS)
def test_the_weights_to_fetch_are_those_that_will_be_loaded(listing):
    names, wanted = LISTINGS[listing]
    assert sorted(wanted_weights(names)) == sorted(wanted)


#: What the hub's bot has to have done for its conversion to be taken, and what it may not have.
PULL_REQUESTS = {
    "the bot's": (PULL_REQUEST, COMMIT, True),
    "another's": ({**PULL_REQUEST, "author": {"name": "someone"}}, COMMIT, False),
    "closed": ({**PULL_REQUEST, "status": "closed"}, COMMIT, False),
    "of another name": ({**PULL_REQUEST, "title": "Better weights"}, COMMIT, False),
    "on an older commit": (PULL_REQUEST, "f" * 40, False),
    "none": (None, COMMIT, False),
}


@pytest.mark.parametrize("kind", PULL_REQUESTS)
def test_the_bots_conversion_is_taken_and_no_other(kind):
    stated, parent, taken = PULL_REQUESTS[kind]

    class Api:
        def get_repo_discussions(self, repository, *, author):
            return (
                []
                if stated is None
                else [
                    SimpleNamespace(
                        is_pull_request=stated["isPullRequest"],
                        title=stated["title"],
                        status=stated["status"],
                        author=stated["author"]["name"],
                        git_reference=f"refs/pr/{stated['num']}",
                    )
                ]
            )

        def list_repo_commits(self, repository, *, revision):
            return [SimpleNamespace(commit_id=commit) for commit in (CONVERTED, parent)]

    assert _conversion(Api(), "someone/tiny", COMMIT) == ("refs/pr/7" if taken else None)


def test_a_conversion_is_fetched_with_its_revision_said_and_found_again_without_the_hub(hub, tmp_path):
    endpoint, handler = hub
    handler.files = ["config.json", "pytorch_model.bin", "tokenizer.json", "preprocessor_config.json"]
    handler.pull_request = PULL_REQUEST
    place = {"HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
    snapshot, said = resolve("someone/tiny", HF_ENDPOINT=endpoint, **place).split("|", 1)
    assert snapshot.endswith(CONVERTED)
    assert "pytorch_model.bin" not in handler.asked
    assert (
        f"someone/tiny: revision {CONVERTED} (refs/pr/7, converted by the hub's bot; main holds a pickle)"
        in said
    )
    again, said = resolve("someone/tiny", HF_HUB_OFFLINE="1", **place).split("|", 1)
    assert again == snapshot
    assert f"someone/tiny: revision {CONVERTED} (refs/pr/7, converted by the hub's bot)" in said
    named = resolve("someone/tiny@refs/pr/7", HF_HUB_OFFLINE="1", **place)
    assert named == snapshot


@pytest.mark.exhaustive
def test_a_pickle_of_the_hub_is_converted_and_found_under_its_id(folder, hub, tmp_path):
    from lexiseg.models.clip import load_clip

    endpoint, handler = hub
    handler.files = [name for name in handler.files if name != "model.safetensors"]
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    place = {
        "HF_HOME": str(tmp_path / "hub"),
        "LEXISEG_CACHE": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_XET": "1",
    }
    answer = resolve("someone/tiny", function="convert.convert_from_hub", HF_ENDPOINT=endpoint, **place)
    assert answer.startswith("Conversion(")
    assert f"someone/tiny: revision {COMMIT}" in answer
    found = resolve("someone/tiny", HF_HUB_OFFLINE="1", **place)
    assert found == str(tmp_path / "cache" / "weights" / f"someone--tiny--{COMMIT[:12]}")
    assert load_clip(Path(found))
    assert not list(Path(found).glob("*.bin"))
    record = json.loads((Path(found) / "converted.json").read_text())
    assert (record["repository"], record["commit"]) == ("someone/tiny", COMMIT)
    assert resolve(f"someone/tiny@{COMMIT}", HF_HUB_OFFLINE="1", **place) == found
    assert resolve("someone/tiny@other", HF_HUB_OFFLINE="1", **place).startswith("MissingWeightsError|")


def test_a_repository_in_openclips_layout_is_said_to_be_one(hub, tmp_path):
    endpoint, handler = hub
    handler.files = ["open_clip_config.json", "open_clip_pytorch_model.bin"]
    answer = resolve("someone/tiny", HF_HOME=str(tmp_path), HF_ENDPOINT=endpoint)
    assert "found OpenCLIP's layout (open_clip_config.json, open_clip_pytorch_model.bin); expected" in answer
    assert "such as laion/CLIP-ViT-B-32-laion2B-s34B-b79K or openai/clip-vit-large-patch14" in answer


def test_a_pickle_in_the_cache_names_the_command_also_without_the_hub(folder, tmp_path):
    snapshot = as_hub_cache(folder, tmp_path, "someone/tiny")
    (snapshot / "model.safetensors").rename(snapshot / "pytorch_model.bin")
    answer = resolve("someone/tiny", HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert answer.startswith("CheckpointError|")
    assert "only pytorch_model.bin in the hub's cache" in answer
    assert answer.endswith("lexiseg convert someone/tiny")
