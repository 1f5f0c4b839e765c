import hashlib
import sqlite3
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lexiseg.core.errors import UnknownNameError
from lexiseg.core.interfaces import TextEncoder
from lexiseg.inference import text_embeddings
from lexiseg.inference.text_embeddings import embed_names
from lexiseg.ops.prompts import PROMPT_SETS, PromptSet, fill

DIM = 12


class HashedTexts(TextEncoder):
    """Every text has its own pseudo-random vector; lengths differ, so the averaging rule shows."""

    def __init__(self, fingerprint: str = "hashed-1") -> None:
        super().__init__()
        self.fingerprint = fingerprint
        self.scale = nn.Parameter(torch.ones(()))
        self.calls: list[list[str]] = []

    def forward(self, texts: Sequence[str]) -> Tensor:
        self.calls.append(list(texts))
        return torch.stack([self.vector(text) for text in texts]) * self.scale

    @staticmethod
    def vector(text: str) -> Tensor:
        seed = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:7], "little")
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(DIM, generator=generator) * (1 + len(text) % 5)

    @property
    def texts_seen(self) -> list[str]:
        return [text for call in self.calls for text in call]


def by_hand(name: str, prompt_set: PromptSet) -> Tensor:
    vectors = [HashedTexts.vector(text) for text in fill(prompt_set, name)]
    if prompt_set.ensemble == "normalised":
        vectors = [vector / vector.norm() for vector in vectors]
    mean = sum(vectors[1:], vectors[0]) / len(vectors)
    return mean / mean.norm()


@pytest.mark.parametrize("prompts", PROMPT_SETS)
def test_an_embedding_is_the_average_by_the_sets_own_rule(prompts):
    names = ["cat", "tv/monitor", "Egg_cup", "{}", "🐱"]
    got = embed_names(HashedTexts(), names, prompts, cache=None)
    expected = torch.stack([by_hand(name, PROMPT_SETS[prompts]) for name in names])
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)


def test_the_two_averaging_rules_give_different_directions():
    raw = PROMPT_SETS["tcl9"]
    normalised = PromptSet(name="x", templates=raw.templates)
    assert not torch.allclose(by_hand("cat", raw), by_hand("cat", normalised), atol=1e-3)


def test_the_encoder_reads_every_text_once_and_few_at_a_time():
    encoder = HashedTexts()
    names = [f"name {i % 150}" for i in range(300)]
    got = embed_names(encoder, names, "tcl9", cache=None)
    assert len(encoder.texts_seen) == len(set(encoder.texts_seen)) == 150 * 9
    assert max(map(len, encoder.calls)) <= text_embeddings.TEXTS_PER_CALL
    assert torch.equal(got[:150], got[150:])


def test_no_gradient_is_kept_and_grad_mode_is_left_alone():
    assert not embed_names(HashedTexts(), ["cat"], "single", cache=None).requires_grad
    encodings = text_embeddings._encode(HashedTexts(), ["cat", "dog"], PROMPT_SETS["single"])
    next(encodings)
    assert torch.is_grad_enabled()


def test_a_second_run_encodes_only_new_names_and_gives_the_same_bits(tmp_path):
    first = embed_names(HashedTexts(), ["cat", "dog"], "openai7", cache=tmp_path)
    encoder = HashedTexts()
    second = embed_names(encoder, ["dog", "owl", "cat"], "openai7", cache=tmp_path)
    assert encoder.texts_seen == fill(PROMPT_SETS["openai7"], "owl")
    assert torch.equal(second[[2, 0]], first)
    without = embed_names(HashedTexts(), ["dog", "owl", "cat"], "openai7", cache=None)
    torch.testing.assert_close(second, without, atol=1e-7, rtol=0)


def test_another_encoder_or_changed_templates_or_another_rule_are_another_key(tmp_path, monkeypatch):
    base = PROMPT_SETS["tcl9"]
    embed_names(HashedTexts(), ["cat"], "tcl9", cache=tmp_path)

    other = HashedTexts("hashed-2")
    embed_names(other, ["cat"], "tcl9", cache=tmp_path)
    assert other.calls

    for changed in (
        PromptSet(name="tcl9", templates=(*base.templates[:-1], "a photo of {}s"), ensemble="raw"),
        PromptSet(name="tcl9", templates=base.templates, ensemble="normalised"),
        PromptSet(name="tcl9", templates=base.templates, ensemble="raw", spelling="vild"),
    ):
        monkeypatch.setitem(PROMPT_SETS, "tcl9", changed)
        encoder = HashedTexts()
        embed_names(encoder, ["cat"], "tcl9", cache=tmp_path)
        assert encoder.calls
    monkeypatch.setitem(PROMPT_SETS, "tcl9", base)
    again = HashedTexts()
    embed_names(again, ["cat"], "tcl9", cache=tmp_path)
    assert not again.calls


def test_ten_thousand_names_are_one_file(tmp_path):
    names = [f"thing {i}" for i in range(10_000)]
    embed_names(HashedTexts(), names, "bare", cache=tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 1
    assert files[0].stat().st_size < 10_000 * (DIM * 4 + 200)
    encoder = HashedTexts()
    embed_names(encoder, names, "bare", cache=tmp_path)
    assert not encoder.calls


def test_an_interrupted_run_keeps_the_names_it_finished(tmp_path):
    class Interrupted(HashedTexts):
        def forward(self, texts: Sequence[str]) -> Tensor:
            if "name 300" in texts:
                raise KeyboardInterrupt
            return super().forward(texts)

    names = [f"name {i}" for i in range(400)]
    with pytest.raises(KeyboardInterrupt):
        embed_names(Interrupted(), names, "bare", cache=tmp_path)
    encoder = HashedTexts()
    embed_names(encoder, names, "bare", cache=tmp_path)
    assert len(encoder.texts_seen) == 400 - text_embeddings.NAMES_PER_WRITE


def test_a_corrupt_file_costs_one_warning_and_never_the_result(tmp_path):
    expected = embed_names(HashedTexts(), ["cat"], "single", cache=tmp_path)
    (file,) = tmp_path.rglob("*.sqlite3")
    file.write_bytes(b"this is not a database at all, only text" * 100)
    with pytest.warns(UserWarning, match="text-embedding cache") as caught:
        got = embed_names(HashedTexts(), ["cat"], "single", cache=tmp_path)
        embed_names(HashedTexts(), ["cat"], "single", cache=tmp_path)
    assert torch.equal(got, expected)
    (warning,) = caught
    assert str(file) in str(warning.message)
    assert "file is not a database" in str(warning.message)
    assert "Delete that file if it is there, or set LEXISEG_CACHE" in str(warning.message)


@pytest.mark.parametrize(
    "damage", ["UPDATE embeddings SET vector = x'00000000'", "UPDATE embeddings SET vector = 'x'"]
)
def test_a_damaged_row_is_computed_again(tmp_path, damage):
    expected = embed_names(HashedTexts(), ["cat"], "single", cache=tmp_path)
    (file,) = tmp_path.rglob("*.sqlite3")
    connection = sqlite3.connect(file)
    with connection:
        connection.execute(damage)
    connection.close()
    encoder = HashedTexts()
    assert torch.equal(embed_names(encoder, ["cat"], "single", cache=tmp_path), expected)
    assert encoder.calls
    healed = HashedTexts()
    assert torch.equal(embed_names(healed, ["cat"], "single", cache=tmp_path), expected)
    assert not healed.calls


def test_a_truncated_file_never_fails(tmp_path):
    names = [f"thing {i}" for i in range(300)]
    expected = embed_names(HashedTexts(), names, "bare", cache=tmp_path)
    (file,) = tmp_path.rglob("*.sqlite3")
    whole = file.read_bytes()
    for kept in (0, 1, 100, 4096, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:kept])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert torch.equal(embed_names(HashedTexts(), names, "bare", cache=tmp_path), expected)


def test_a_folder_that_cannot_be_made_costs_one_warning(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="cannot be used") as caught:
        got = embed_names(HashedTexts(), ["cat"], "single", cache=tmp_path / "file" / "cache")
        embed_names(HashedTexts(), ["dog"], "single", cache=tmp_path / "file" / "cache")
    assert got.shape == (1, DIM)
    assert len(caught) == 1


def test_a_read_only_store_is_still_read(tmp_path, monkeypatch):
    expected = embed_names(HashedTexts(), ["cat"], "single", cache=tmp_path)
    connect = sqlite3.connect

    def connect_read_only(path: Path, timeout: float) -> sqlite3.Connection:  # root may write anywhere
        return connect(f"file:{path}?mode=ro", uri=True, timeout=timeout)

    monkeypatch.setattr(sqlite3, "connect", connect_read_only)
    encoder = HashedTexts()
    with pytest.warns(UserWarning, match="readonly database"):
        got = embed_names(encoder, ["cat", "dog"], "single", cache=tmp_path)
    assert encoder.texts_seen == ["a photo of a dog."]
    assert torch.equal(got[:1], expected)


def test_values_that_are_not_finite_are_not_remembered(tmp_path):
    broken = HashedTexts()
    broken.scale.data.fill_(float("nan"))
    assert embed_names(broken, ["cat"], "single", cache=tmp_path).isnan().all()
    assert embed_names(HashedTexts(), ["cat"], "single", cache=tmp_path).isfinite().all()


@pytest.mark.exhaustive
def test_processes_may_write_the_same_store_at_once(tmp_path):
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        sys.path[:0] = sys.argv[2:]
        import numpy as np
        from lexiseg.inference import text_embeddings
        store = Path(sys.argv[1])
        for i in range(120):
            name = f"thing {i}"
            text_embeddings._write(store, {name: np.full(8, i, np.float32)})
            assert text_embeddings._read(store, [name])[name][0] == i
        assert not text_embeddings._warned
        """
    )
    store = tmp_path / "store.sqlite3"
    source = str(Path(text_embeddings.__file__).parents[2])
    writers = [subprocess.Popen([sys.executable, "-c", script, str(store), source]) for _ in range(2)]
    assert [writer.wait(timeout=100) for writer in writers] == [0, 0]
    found = text_embeddings._read(store, [f"thing {i}" for i in range(120)])
    assert [found[f"thing {i}"][0] for i in range(120)] == list(range(120))


def test_nothing_is_written_without_a_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path / "cache"))
    embed_names(HashedTexts(), ["cat"], "single", cache=None)
    assert not (tmp_path / "cache").exists()
    embed_names(HashedTexts(), ["cat"], "single")
    assert (tmp_path / "cache" / "text_embeddings").is_dir()


def test_a_user_without_a_home_gets_results(monkeypatch):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(text_embeddings, "default_cache", no_home)
    monkeypatch.setattr(text_embeddings, "_warned", set())
    with pytest.warns(UserWarning, match="Could not determine home directory"):
        assert embed_names(HashedTexts(), ["cat"], "single").shape == (1, DIM)


def test_an_unknown_prompt_set_is_refused_before_anything_is_encoded():
    encoder = HashedTexts()
    with pytest.raises(UnknownNameError, match="looking up the prompt set 'eighty'"):
        embed_names(encoder, ["cat"], "eighty", cache=None)
    assert not encoder.calls
