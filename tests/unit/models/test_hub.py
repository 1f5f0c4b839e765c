import http.server
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import lexiseg
from lexiseg.core.errors import CheckpointError, MissingWeightsError
from lexiseg.models.hub import FILES, KNOWN_WEIGHTS, is_cached, resolve_checkpoint
from tiny_checkpoints import as_hub_cache, save_tiny_clip

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "clip"
    save_tiny_clip(folder)
    return folder


def resolve(name: str, **environment: str) -> str:
    """Resolve in a fresh process: the hub's client reads its environment when it is imported."""
    script = (
        "import sys; from lexiseg.models.hub import resolve_checkpoint\n"
        "from lexiseg.core.errors import LexisegError\n"
        "try: print(resolve_checkpoint(sys.argv[1]))\n"
        "except LexisegError as error: print(type(error).__name__ + '|' + str(error))\n"
    )
    source = str(Path(lexiseg.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", script, name],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"PYTHONPATH": source, "PATH": "", "HOME": "/nonexistent", **environment},
    )
    return done.stdout.strip().splitlines()[-1]


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
    assert "run: hf download openai/clip-vit-base-patch16." in message
    assert "HF_HOME says where it is" in message
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

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if match := re.fullmatch(rf"/someone/tiny/resolve/{COMMIT}/(.*)", path):
            body = (self.folder / match[1]).read_bytes()
            self.asked.append(match[1])
            self._answer(200, body, ETag=f'"{match[1]}"', **{"X-Repo-Commit": COMMIT})
        elif path.startswith("/api/models/someone/tiny/tree/"):
            entries = [
                {"type": "file", "path": file, "size": (self.folder / file).stat().st_size, "oid": "0" * 40}
                for file in self.files
            ]
            self._answer(200, json.dumps(entries).encode())
        elif path.startswith("/api/models/someone/tiny"):
            siblings = [{"rfilename": file} for file in self.files]
            self._answer(
                200, json.dumps({"id": "someone/tiny", "sha": COMMIT, "siblings": siblings}).encode()
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
    snapshot = Path(resolve("someone/tiny", **environment))
    assert snapshot.is_relative_to(tmp_path)
    wanted = {file for file in handler.files if file.endswith((".json", ".safetensors"))}
    assert {file.name for file in snapshot.iterdir()} == set(handler.asked) == wanted
    assert load_clip(snapshot)
    handler.asked.clear()
    assert resolve("someone/tiny", **environment) == str(snapshot)
    assert not handler.asked


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
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert not is_cached("someone/tiny")
    snapshot = as_hub_cache(folder, tmp_path, "someone/tiny")
    assert is_cached("someone/tiny")
    assert resolve_checkpoint("someone/tiny") == snapshot
    (snapshot / "model.safetensors").unlink()
    assert not is_cached("someone/tiny")


def test_known_weights_have_a_size_and_a_licence():
    assert "openai/clip-vit-base-patch16" in KNOWN_WEIGHTS
    assert all(known.megabytes > 100 and known.licence for known in KNOWN_WEIGHTS.values())
    assert not any("bin" in pattern for pattern in FILES)
