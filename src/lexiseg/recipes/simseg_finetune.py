"""simseg/finetune: SimSeg from pretrained encoders, on what one person has and one consumer GPU trains."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lexiseg.core.errors import InputError
from lexiseg.core.interfaces import ImageEncoder, Trainable
from lexiseg.core.setting_ranges import Range, check_ranges
from lexiseg.data.captions.opening import open_caption_source, read_samples
from lexiseg.data.captions.records import CaptionColumns
from lexiseg.data.folder import FolderDataset
from lexiseg.data.stepwise import TrainingData
from lexiseg.engine.settings import OptimSettings, RunSettings
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.simseg.segmenter import SimSeg
from lexiseg.methods.simseg.settings import SimSegSettings
from lexiseg.metrics.retrieval import retrieval_recall
from lexiseg.models.text_tokens import CaptionTokenizer, TokenEncoder
from lexiseg.recipes.backbone import EFFICIENTNET
from lexiseg.recipes.base import RebuildableRecipe
from lexiseg.recipes.caption_files import CaptionFilesRecipe
from lexiseg.recipes.simseg_encoders import (
    MINILM,
    build_image_encoder,
    build_text_encoder,
    describe_image_encoder,
    describe_text_encoder,
    load_caption_tokenizer,
    load_image_encoder,
    load_text_encoder,
    minilm_of_a_run,
    token_width,
)
from lexiseg.scoring.evaluate import evaluate
from lexiseg.scoring.image_text import EmbeddedPairs, embed_pairs

#: Unless the rhythm is given, so many at most, and none more often than once an epoch.
_MOST_EVALUATIONS = 20
_RANGES = {
    **dict.fromkeys(("image_rate", "text_rate"), Range(least=0, most=1000)),
    "epochs": Range(least=0, most=100_000, above=True),
    "image_side": Range(least=8, most=4096),
    "token_stride": Range(least=1, most=64),
    "max_tokens": Range(least=3, most=16_384),
}


@dataclass(frozen=True, kw_only=True)
class FinetuneRecipe(CaptionFilesRecipe, RebuildableRecipe):
    """Train SimSeg from pretrained encoders on images with captions.

    Attributes:
        method: Settings of pooling, temperature and masks.
        image_encoder: Name of the image encoder to begin from: efficientnet-lite0, dinov2-small, a CLIP, SigLIP, DINO, DINOv2,
            ResNet or Swin of the hub or a folder, or the folder of a finished run of SimSeg.
        text_encoder: Name of the text encoder to begin from: all-minilm-l6-v2, a BERT or CLIP of the hub or a folder, or the
            folder of a finished run of SimSeg.
        max_tokens: Tokens of a caption at most, special ones included; longer ones are cut.
        token_stride: Pixels per token that are wanted; of the maps of EfficientNet, DINOv2, ResNet or Swin the nearest
            is taken.
        image_rate: Factor of the image encoder's learning rate; 0 freezes it.
        text_rate: Factor of the text encoder's learning rate; 0 freezes it.
        image_side: Side of the square images in training, in pixels.
        test_side: Side of the square that images are resized to at inference, in pixels.
        epochs: Passes over the images, in the place of ``run.num_steps``; none takes the steps.
        val_split: Name of the part of the captions that validation retrieves from; none leaves it out.
        labelled: Folder with label maps that validation segments; none leaves it out.
        auto_augment: Apply AutoAugment with the ImageNet policy.
    """

    method: SimSegSettings = field(default_factory=lambda: SimSegSettings(embedding_dim=256))
    image_encoder: str = EFFICIENTNET
    text_encoder: str = MINILM
    max_tokens: int = 25
    token_stride: int = 16
    image_rate: float = 0.1
    text_rate: float = 0.1
    image_side: int = 224
    test_side: int = 224
    epochs: float | None = None
    val_split: str | None = None
    labelled: Path | None = None
    auto_augment: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, _RANGES, method="fine-tuning")

    def build_tokenizer(self) -> CaptionTokenizer:
        """Build what turns sentences into token ids: that of the text encoder.

        Raises:
            MissingWeightsError: The encoder is not here.
        """
        return load_caption_tokenizer(self.text_encoder)

    def build_model(self) -> SimSeg:
        """Load both encoders with their published weights; what joins them begins at random.

        Raises:
            MissingWeightsError: An encoder is not here.
            CheckpointError: One is damaged or of another kind.
        """
        whole = self.method.training.pooling == "cls"
        return self._built(
            load_image_encoder(self.image_encoder, stride=self.token_stride, whole=whole),
            load_text_encoder(self.text_encoder, max_tokens=self.max_tokens),
        )

    def describe_model(self, model: Trainable) -> dict[str, Any]:
        """Return what both encoders are, and the tokenizer, without their weights."""
        assert isinstance(model, SimSeg)
        return {
            "image_encoder": describe_image_encoder(model.image_encoder),
            "text_encoder": describe_text_encoder(model.texts.network),
        }

    def rebuild_model(self, described: Mapping[str, Any]) -> SimSeg:
        """Build both encoders without weights: neither checkpoint is needed."""
        texts = described.get("text_encoder")
        return self._built(
            build_image_encoder(described["image_encoder"], stride=self.token_stride),
            minilm_of_a_run(self.max_tokens) if texts is None else build_text_encoder(texts),
        )

    def _built(self, encoder: ImageEncoder, texts: TokenEncoder) -> SimSeg:
        return SimSeg(
            encoder,
            token_width(encoder),
            texts,
            settings=InferenceSettings(
                short_side=self.test_side,
                max_long_side=max(2048, self.test_side),
                keep_aspect=False,
                prompts="openai7",
                background="name",
                refine="crf",
            ),
            method=self.method,
            image_rate=self.image_rate,
            text_rate=self.text_rate,
        )

    def build_data(self) -> TrainingData:
        """Open the captions.

        Raises:
            DatasetError: They cannot be used.
            InputError: There are fewer images than a batch compares.
        """
        return self.open_files(size=self.image_side, auto_augment=self.auto_augment)

    def fitted_to(self, data: TrainingData) -> "FinetuneRecipe":
        """Turn epochs into steps, and say what the steps mean for the data at hand."""
        per_epoch = data.steps_per_epoch
        assert per_epoch is not None, "captions say how long an epoch is"
        if per_epoch < 1:
            raise InputError(
                doing="fine-tuning on captions",
                found=f"{per_epoch * self.run.batch_size:.0f} images for batches of {self.run.batch_size}",
                expected="at least one batch: an image that comes twice in it is held against itself",
                fix="Lower --run.batch-size, or give more images.",
            )
        num_steps = self.run.num_steps
        if self.epochs is not None:
            num_steps = max(1, math.ceil(self.epochs * per_epoch))
        every = self.run.evaluate_every
        if every is None and (self.val_split is not None or self.labelled is not None):
            every = max(1, round(per_epoch), num_steps // _MOST_EVALUATIONS)
        return replace(self, run=replace(self.run, num_steps=num_steps, evaluate_every=every))

    def evaluate(self, model: Trainable) -> dict[str, float]:
        """Score mean IoU on the folder with label maps, retrieval and loss on the part that is held out, where given.

        The first decides which weights are best: mean IoU, or without label maps the sum of recalls.
        """
        assert isinstance(model, SimSeg)
        found: dict[str, float] = {}
        if self.labelled is not None:
            found["mean_iou"] = float(evaluate(model, FolderDataset(self.labelled)).scores.mean_iou)
        if self.val_split is not None:
            columns = CaptionColumns(
                image=self.image_column, caption=self.caption_column, key=self.key_column
            )
            source = open_caption_source(self.captions, columns=columns, split=self.val_split)
            pairs = embed_pairs(model, read_samples(source))
            recall = retrieval_recall((pairs.images @ pairs.texts.T).numpy(), pairs.image_of_text.numpy())
            found |= {
                "rsum": 100 * sum((*recall.image_to_text.values(), *recall.text_to_image.values())),
                "image_to_text_1": recall.image_to_text[1],
                "text_to_image_1": recall.text_to_image[1],
                "val_loss": self._loss_of(model, pairs),
            }
        return found

    def _loss_of(self, model: SimSeg, pairs: EmbeddedPairs) -> float:
        """Average the training loss over batches of held-out images, each with its first caption."""
        first = np.unique(pairs.image_of_text.numpy(), return_index=True)[1]
        texts = pairs.texts[torch.from_numpy(first)]
        device = model.temperature.value.device
        total = 0.0
        for start in range(0, len(texts), self.run.batch_size):
            rows = slice(start, start + self.run.batch_size)
            loss = model.contrast(pairs.images[rows].to(device), texts[rows].to(device)).total()
            total += float(loss) * len(texts[rows])
        return total / len(texts)


def finetune() -> FinetuneRecipe:
    """Train SimSeg from EfficientNet-Lite0 (or DINOv2) and MiniLM on your own images with captions."""
    return FinetuneRecipe(
        optim=OptimSettings(
            lr=1e-3, weight_decay=0.05, betas=(0.9, 0.98), eps=1e-6, warmup_fraction=0.05, final_factor=0.1
        ),
        run=RunSettings(
            num_steps=2000, batch_size=512, sub_batch_size=64, precision="bf16", num_workers=4, final="best"
        ),
    )
