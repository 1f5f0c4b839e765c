"""What every method that works from names alone does with input that is at the edge: one table, nothing left out."""

from functools import cache

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lexiseg.core.errors import CheckpointError
from lexiseg.core.interfaces import MaskProposer
from lexiseg.core.masks import Masks
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.inference.class_names import ClassNames
from lexiseg.methods.borrowed_attention.settings import BorrowedAttentionSettings
from lexiseg.methods.clipseg import ClipSegSegmenter
from lexiseg.methods.sam3 import Sam3Segmenter
from lexiseg.models.siglip import HEADS as SIGLIP_HEADS
from lexiseg.ops.dense_heads import BORROWING_HEADS, HEADS
from lexiseg.recipes.dense_similarity import DenseSettings, build_dense_similarity
from lexiseg.runs.load import load
from tiny_checkpoints import save_tiny_clip, save_tiny_clipseg, save_tiny_groupvit, save_tiny_siglip
from tiny_vision_checkpoints import save_tiny_dinov2, save_tiny_sam, save_tiny_sam3

MAKERS = {
    "clip": save_tiny_clip,
    "clipseg": save_tiny_clipseg,
    "groupvit": save_tiny_groupvit,
    "sam3": save_tiny_sam3,
    "siglip": save_tiny_siglip,
    "dinov2": save_tiny_dinov2,
    "sam": save_tiny_sam,
}
#: Family and head; a new head falls into the table.
METHODS = [
    *(("clip", head) for head in (*HEADS, *BORROWING_HEADS)),
    *(("siglip", head) for head in SIGLIP_HEADS),
    ("clipseg", None),
    ("sam3", None),
]
NAMES = ["-".join(filter(None, each)) for each in METHODS]
WORDS = ["cat", "dog", "sky"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    @cache
    def find(kind):
        return MAKERS[kind](tmp_path_factory.mktemp("edges") / kind)

    return find


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path_factory.getbasetemp() / "edges-cache"))


@pytest.fixture(scope="module", params=METHODS, ids=NAMES)
def model(request, folders):
    """Small windows, so that whatever is done by windows is done."""
    kind, head = request.param
    if head is None:
        return load(folders(kind), device="cpu")
    beside = BorrowedAttentionSettings(
        vision=str(folders("dinov2")), sam=str(folders("sam")), proposer="classical"
    )
    return build_dense_similarity(str(folders(kind)), DenseSettings(head=head, beside=beside))


def how(model, **more):
    size = {"short_side": 32, "max_long_side": 96, "prompts": "bare", "refine": "none"}
    return {**size, **more}


def photograph(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.exhaustive("model", "image")
@pytest.mark.parametrize(
    "image",
    [
        np.full((40, 56, 3), 128, np.uint8),
        np.zeros((1, 1, 3), np.uint8),
        photograph(1, 1),
        photograph(3, 90),
    ],
    ids=["flat", "one black pixel", "one pixel", "a strip"],
)
def test_flat_and_tiny_images_keep_their_size_and_have_finite_scores(model, image):
    found = model.segment(image, WORDS, **how(model))
    assert found.label_map.shape == image.shape[:2]
    assert np.isfinite(found.score_map).all()
    assert found.label_map.max() < len(WORDS)


def test_a_window_larger_than_the_image_sees_it_whole(model):
    image = photograph(33, 48)
    whole = model.segment(image, WORDS, **how(model, window=None, tiles="off"))
    for window in (112, 1008):
        found = model.segment(image, WORDS, **how(model, window=window))
        np.testing.assert_array_equal(found.label_map, whole.label_map)
        np.testing.assert_allclose(found.score_map, whole.score_map, atol=1e-5)


@pytest.mark.exhaustive
def test_ten_thousand_names_are_decided_in_the_memory_that_was_given(model):
    """Embeddings are made up: what is tested is what follows them. Networks that draw every name get some hundreds."""
    draws = isinstance(model, ClipSegSegmenter | Sam3Segmenter)
    count = 200 if draws else 10_000
    first = model.embed_texts(WORDS, "bare")
    embeddings = torch.cat([first, torch.randn(count - len(first), first.shape[1]) * first.std()])
    names = tuple(f"name {number}" for number in range(count))
    class_names = ClassNames(
        vocabulary=Vocabulary(names=names), names=names, owner=tuple(range(count)), embeddings=embeddings
    )
    numbers = []
    score = model.class_scores
    model.class_scores = lambda features, rows: (
        numbers.append(len(rows) * features.tokens.shape[1]),
        score(features, rows),
    )[1]
    try:
        found = model.segment(photograph(10, 12), class_names, **how(model, memory_mb=1, short_side=24))
    finally:
        del model.class_scores
    assert found.label_map.max() < count
    assert np.isfinite(found.score_map).all()
    assert draws or 4 * 3 * max(numbers) <= 2**20


class Proposer(MaskProposer):
    """Gives the masks that it is told to."""

    def __init__(self, masks):
        super().__init__()
        self.masks = masks

    def propose(self, image):
        masks = np.zeros((self.masks, *image.shape[:2]), bool)
        masks[:1] = True
        return Masks(masks=masks, scores=np.ones(self.masks, np.float32))


@pytest.mark.parametrize("masks", [0, 1, 3], ids=["no region", "one region", "regions without a pixel"])
@pytest.mark.parametrize("vision", ["none", "dinov2"])
def test_corrclip_takes_any_number_of_regions(folders, masks, vision):
    beside = BorrowedAttentionSettings(vision=str(folders("dinov2")) if vision == "dinov2" else "none")
    model = build_dense_similarity(str(folders("clip")), DenseSettings(head="corrclip", beside=beside))
    model.proposer = Proposer(masks)
    image = photograph(40, 50)
    found = model.segment(image, WORDS, **how(model))
    assert np.isfinite(found.score_map).all()
    assert not masks or len(np.unique(found.label_map)) == 1, "a region that covers all has one label"


#: How the tensors of the text encoder begin, family by family.
TEXT_ENCODERS = {
    "clip": "text_model.",
    "clipseg": "clip.text_model.",
    "groupvit": "text_model.",
    "sam3": "detector_model.text_encoder.",
    "siglip": "text_model.",
}


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in METHODS} | {"groupvit"}))
def test_a_checkpoint_without_its_text_encoder_is_refused_by_its_tensors(folders, tmp_path, kind):
    for file in folders(kind).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if not name.startswith(TEXT_ENCODERS[kind])}
    assert len(kept) < len(tensors)
    save_file(kept, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"text_(model|encoder)\..*: file nothing"):
        load(tmp_path, device="cpu")
