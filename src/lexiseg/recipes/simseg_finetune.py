"""simseg/finetune: SimSeg from pretrained encoders, on what one person has and one consumer GPU trains."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from lexiseg.core.errors import InputError
from lexiseg.core.interfaces import Trainable
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
from lexiseg.models.backbones import build_backbone, describe_backbone
from lexiseg.models.bert import Bert, BertShape, WordPieceTokenizer
from lexiseg.models.minilm import TOKENIZER, WEIGHTS
from lexiseg.models.pyramid_tokens import PyramidTokens
from lexiseg.models.text_tokens import CaptionTokenizer
from lexiseg.recipes.backbone import EFFICIENTNET, load_backbone
from lexiseg.recipes.base import RebuildableRecipe
from lexiseg.recipes.caption_files import CaptionFilesRecipe
from lexiseg.scoring.evaluate import evaluate
from lexiseg.scoring.image_text import embed_pairs

#: all-MiniLM-L6-v2.
MINILM_SHAPE = BertShape(width=384, depth=6, num_heads=12, drop_rate=0.0)
_RANGES = {
    **dict.fromkeys(("image_rate", "text_rate"), Range(least=0, most=1000)),
    "epochs": Range(least=0, most=100_000, above=True),
    "image_side": Range(least=8, most=4096),
    "token_stride": Range(least=1, most=64),
}


@dataclass(frozen=True, kw_only=True)
class FinetuneRecipe(CaptionFilesRecipe, RebuildableRecipe):
    """Train SimSeg from pretrained encoders on images with captions.

    Attributes:
        method: Settings of pooling, temperature and masks.
        image_encoder: Name of the image encoder to begin from: efficientnet-lite0, dinov2-small, or a DINOv2, ResNet or Swin
            of the hub or a folder.
        token_stride: Pixels per token that are wanted; of a backbone's maps the nearest is taken.
        image_rate: Factor of the image encoder's learning rate; 0 freezes it.
        text_rate: Factor of the text encoder's learning rate (all-MiniLM-L6-v2); 0 freezes it.
        image_side: Side of the square images in training, in pixels.
        test_side: Side of the square that images are resized to at inference, in pixels.
        epochs: Passes over the images, in the place of ``run.num_steps``; none takes the steps.
        val_split: Name of the part of the captions that validation retrieves from; none leaves it out.
        labelled: Folder with label maps that validation segments; none leaves it out.
        auto_augment: Apply AutoAugment with the ImageNet policy.
    """

    method: SimSegSettings = field(default_factory=lambda: SimSegSettings(embedding_dim=256))
    image_encoder: str = EFFICIENTNET
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
        """Build BERT's WordPiece tokenizer from the pip package that carries all-MiniLM-L6-v2.

        Raises:
            MissingWeightsError: The package is not installed.
        """
        return WordPieceTokenizer(TOKENIZER.verified_path())

    def build_model(self) -> SimSeg:
        """Load both encoders with their published weights; what joins them begins at random.

        Raises:
            MissingWeightsError: An encoder is not here.
            CheckpointError: One is damaged or of another kind.
        """
        texts = self._texts()
        weights = WEIGHTS.verified_path()
        texts.load_published(load_file(weights), weights)
        return self._built(PyramidTokens(load_backbone(self.image_encoder), self.token_stride), texts)

    def describe_model(self, model: Trainable) -> dict[str, Any]:
        """Return what the image encoder is, without its weights."""
        assert isinstance(model, SimSeg)
        assert isinstance(model.image_encoder, PyramidTokens)
        return {"image_encoder": describe_backbone(model.image_encoder.backbone)}

    def rebuild_model(self, described: Mapping[str, Any]) -> SimSeg:
        """Build both encoders without weights: neither checkpoint is needed."""
        encoder = PyramidTokens(build_backbone(described["image_encoder"]), self.token_stride)
        return self._built(encoder, self._texts())

    def _texts(self) -> Bert:
        return Bert(self.build_tokenizer(), MINILM_SHAPE)

    def _built(self, encoder: PyramidTokens, texts: Bert) -> SimSeg:
        return SimSeg(
            encoder,
            encoder.width,
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
        if self.epochs is None:
            return self
        return replace(self, run=replace(self.run, num_steps=max(1, math.ceil(self.epochs * per_epoch))))

    def evaluate(self, model: Trainable) -> dict[str, float]:
        """Score retrieval on the part that is held out and mean IoU on the folder with label maps, where there are such."""
        assert isinstance(model, SimSeg)
        found: dict[str, float] = {}
        if self.val_split is not None:
            columns = CaptionColumns(
                image=self.image_column, caption=self.caption_column, key=self.key_column
            )
            source = open_caption_source(self.captions, columns=columns, split=self.val_split)
            pairs = embed_pairs(model, read_samples(source))
            recall = retrieval_recall((pairs.images @ pairs.texts.T).numpy(), pairs.image_of_text.numpy())
            found |= {
                "image_to_text_1": recall.image_to_text[1],
                "text_to_image_1": recall.text_to_image[1],
                "rsum": 100 * sum((*recall.image_to_text.values(), *recall.text_to_image.values())),
            }
        if self.labelled is not None:
            found["mean_iou"] = float(evaluate(model, FolderDataset(self.labelled)).scores.mean_iou)
        return found


def finetune() -> FinetuneRecipe:
    """Train SimSeg from EfficientNet-Lite0 (or DINOv2) and MiniLM on your own images with captions."""
    return FinetuneRecipe(
        optim=OptimSettings(
            lr=1e-3, weight_decay=0.05, betas=(0.9, 0.98), eps=1e-6, warmup_fraction=0.05, final_factor=0.1
        ),
        run=RunSettings(num_steps=2000, batch_size=512, sub_batch_size=64, precision="bf16", num_workers=4),
    )
