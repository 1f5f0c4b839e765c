"""Things to train in a second: flat colours with their names, a model that learns them, and its recipe."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from lexiseg.core.batch import Batch
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ContrastiveTrainable, Trainable
from lexiseg.core.loss_terms import LossTerms
from lexiseg.data.stepwise import StepwiseData
from lexiseg.engine.settings import OptimSettings, RunSettings
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.ops.gather import gather_batch, mean_over_devices
from lexiseg.recipes.training import Recipe
from toy_segmenter import COLOURS

WIDTH = 8


def make_batch(step: int, start: int, stop: int) -> Batch:
    """Pictures of one colour each with noise, and a sentence that names it; row by row from step and row."""
    images, captions, labels = [], [], []
    for row in range(start, stop):
        random = np.random.default_rng((step, row))
        name = list(COLOURS)[random.integers(len(COLOURS))]
        colour = 255 * np.array(COLOURS[name])[:, None, None]
        images.append((colour + random.normal(0, 40, (3, 8, 8))).clip(0, 255).astype(np.uint8))
        captions.append(f"something {name}")
        labels.append(np.full((8, 8), row % 3 if random.random() < 0.5 else 255))
    return Batch(
        images=torch.from_numpy(np.stack(images)),
        sources=tuple(f"step {step} row {row}" for row in range(start, stop)),
        captions=tuple(captions),
        label_maps=torch.from_numpy(np.stack(labels)),
    )


def toy_data(batch_size: int) -> StepwiseData:
    return StepwiseData(make_batch, batch_size=batch_size, fingerprint=f"toy-{batch_size}")


@dataclass(frozen=True, kw_only=True)
class ToySettings:
    """What the toy can be told.

    Attributes:
        dropout: Share of numbers dropped.
        nan_from_step: The loss is not a number from this call on; none never.
    """

    dropout: float = 0.0
    nan_from_step: int | None = None


class ToyContrast(Segmenter, ContrastiveTrainable):
    """Patch colours through a few layers against bags of letters."""

    name = "toy"

    def __init__(self, settings: ToySettings | None = None) -> None:
        super().__init__()
        self.toy = settings or ToySettings()
        self.settings = InferenceSettings(short_side=32, refine="none")
        self.method_settings = {"dropout": self.toy.dropout}
        self.stem = nn.Linear(3, WIDTH)
        self.blocks = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(2)])
        self.letters = nn.Linear(26, WIDTH)
        self.temperature = nn.Parameter(torch.tensor(0.2))
        self.calls = 0

    @property
    def stride(self) -> int:
        return 4

    def encode_images(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        means = reduce(images, "b c (h p) (w q) -> b c h w", "mean", p=4, q=4)
        tokens = self.stem(rearrange(means, "b c h w -> b (h w) c"))
        for block in self.blocks:
            tokens = tokens + F.dropout(F.gelu(block(tokens)), self.toy.dropout, self.training)
        return PatchFeatures(tokens=tokens, grid=(means.shape[2], means.shape[3]), stride=4)

    def embed_texts(self, names: Sequence[str], prompts: str) -> Float[Tensor, "S D"]:
        counts = torch.tensor(
            [[float(name.lower().count(chr(97 + i))) for i in range(26)] for name in names],
            device=self.stem.weight.device,
        )
        return F.normalize(self.letters(counts), dim=1)

    def class_scores(
        self, features: PatchFeatures, embeddings: Float[Tensor, "S D"]
    ) -> Float[Tensor, "B S h w"]:
        scores = F.normalize(features.tokens, dim=2) @ embeddings.T
        return rearrange(scores, "b (h w) s -> b s h w", h=features.grid[0])

    def embed(self, batch: Batch) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
        assert batch.captions is not None
        tokens = self.encode_images(batch.pixels()).tokens
        return F.normalize(tokens.mean(1), dim=1), self.embed_texts(batch.captions, "bare")

    def contrast(self, images: Float[Tensor, "B D"], texts: Float[Tensor, "B D"]) -> LossTerms:
        self.calls += 1
        logits = images @ texts.T / self.temperature
        target = torch.arange(len(logits), device=logits.device)
        terms = {"image": F.cross_entropy(logits, target), "text": F.cross_entropy(logits.T, target)}
        if self.toy.nan_from_step is not None and self.calls >= self.toy.nan_from_step:
            terms["text"] = terms["text"] * float("nan")
        weights = {"image": 0.5, "text": 0.5}
        return LossTerms(terms=terms, weights=weights, observed={"temperature": self.temperature})

    def loss(self, batch: Batch) -> LossTerms:
        images, texts = self.embed(batch)
        return self.contrast(gather_batch(images), gather_batch(texts))


class ToyCounts(Trainable):
    """Classify pixels; the loss is divided by the number of labelled ones, as losses on masks are."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = nn.Linear(3, 3).requires_grad_(False)
        self.layers = nn.ModuleList([nn.Linear(3, 8), nn.Linear(8, 3)])

    def loss(self, batch: Batch) -> LossTerms:
        assert batch.label_maps is not None
        pixels = rearrange(batch.pixels(), "b c h w -> (b h w) c")
        logits = self.layers[1](F.gelu(self.layers[0](pixels)))
        labels = batch.label_maps.flatten()
        count = mean_over_devices((labels != 255).sum().float()).clamp(min=1)
        wrong = F.cross_entropy(logits, labels, ignore_index=255, reduction="sum") / count
        told = F.mse_loss(logits, self.teacher(pixels))
        return LossTerms(terms={"pixels": wrong, "teacher": told}, weights={"teacher": 0.1})


@dataclass(frozen=True, kw_only=True)
class ToyRecipe(Recipe):
    """Train a toy on flat colours."""

    method: ToySettings = field(default_factory=ToySettings)
    counts: bool = False

    def build_model(self) -> Trainable:
        return ToyCounts() if self.counts else ToyContrast(self.method)

    def build_data(self) -> StepwiseData:
        return toy_data(self.run.batch_size)

    def evaluate(self, model: Trainable) -> dict[str, float]:
        batch = make_batch(10**6, 0, 8)
        if isinstance(model, ToyContrast):  # every device scores alone: nothing is gathered
            return {"held_out_loss": model.contrast(*model.embed(batch)).total().item()}
        return {"held_out_loss": model.loss(batch).total().item()}


OPTIM = OptimSettings(lr=0.01, weight_decay=0.1, warmup_fraction=0.1, clip_norm=1.0, ema_decay=0.9)


def contrast_recipe() -> ToyRecipe:
    """Train the contrastive toy."""
    run = RunSettings(num_steps=12, batch_size=8, save_every=4, log_every=2, evaluate_every=6, device="cpu")
    return ToyRecipe(method=ToySettings(dropout=0.2), optim=OPTIM, run=run)


def counts_recipe() -> ToyRecipe:
    """Train the counting toy."""
    return ToyRecipe(counts=True, optim=OPTIM, run=contrast_recipe().run)


def eight_rows() -> StepwiseData:
    """Is no recipe."""
    return toy_data(8)
