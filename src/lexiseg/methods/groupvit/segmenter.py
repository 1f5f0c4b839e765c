"""GroupViT as a segmenter, trained from captions alone.

Xu et al., "GroupViT: Semantic Segmentation Emerges from Text Supervision", CVPR 2022. The image encoder groups
patches into a few segments; at test time each segment takes the class it is most similar to, among the few
that the whole image is similar to. In training the image's vector is compared with its caption and with
single words of it, put into sentences.

Differences from the paper and from the released code: docs/methods/groupvit.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from lexiseg.core.batch import Batch
from lexiseg.core.errors import InputError
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ContrastiveTrainable, ParameterGroup
from lexiseg.core.label_maps import label_counts, relabel
from lexiseg.core.loss_terms import LossTerms
from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.decision import Decision, Redecision
from lexiseg.inference.encode import EncodedImage
from lexiseg.inference.grounds import AskedPixel, Grounds
from lexiseg.inference.refine import refine_labels
from lexiseg.inference.refine_crf import refine_labels_crf
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.inference.text_embeddings import embed_names
from lexiseg.losses.contrastive import contrastive_loss
from lexiseg.losses.multi_label import LogitScale, capped_scale, multi_label_loss
from lexiseg.methods.groupvit.affinity import class_affinity, kept_up_to, name_similarities
from lexiseg.methods.groupvit.evidence import segment_grounds
from lexiseg.methods.groupvit.settings import GroupViTSettings
from lexiseg.methods.groupvit.stitching import (
    NamedSegments,
    best_columns,
    grid_columns,
    segment_map,
    thresholds,
)
from lexiseg.models.groupvit_encoders import GroupViTImageEncoder, GroupViTTextEncoder
from lexiseg.ops.gather import gather_batch

#: Smaller networks embed words faster than a file is read, and change while they are trained.
_WORTH_A_FILE = 20_000_000


class WindowSimilarities(NamedTuple):
    """The segments of one window against the competing classes.

    Attributes:
        affinity: In [0, 1].
        cosines: Of segments and classes.
        of_image: Cosine of the window as a whole with each class.
    """

    affinity: Float[Tensor, "G K"]
    cosines: Float[Tensor, "G K"]
    of_image: Float[Tensor, " K"]


class GroupViT(Segmenter, ContrastiveTrainable):
    """Train on captions, then segment by class names. Scores are affinities in [0, 1].

    Args:
        image_encoder: Gives segments with their shares of the patches, and a global token.
        text_encoder: Of the same network.
        logit_scale: Logarithm of what cosines are multiplied by, at test time and in the loss of captions.
        name: What the model is called.
        settings: Inference defaults.
        method: Losses, and how segments are named.
    """

    independent_classes = False
    has_probabilities = False

    def __init__(
        self,
        image_encoder: GroupViTImageEncoder,
        text_encoder: GroupViTTextEncoder,
        logit_scale: nn.Parameter,
        *,
        name: str = "groupvit",
        settings: InferenceSettings,
        method: GroupViTSettings | None = None,
    ) -> None:
        super().__init__()
        self.name, self.settings = name, settings
        self.method = method or GroupViTSettings()
        self.image_encoder, self.text_encoder = image_encoder, text_encoder
        self.logit_scale = logit_scale
        self.word_scale = LogitScale(self.method.initial_scale, highest=self.method.highest_scale)
        self.word_scale.requires_grad_(logit_scale.requires_grad and self.method.word_loss > 0)
        self.method_settings: Mapping[str, Any] = asdict(self.method)

    @property
    def applies(self) -> tuple[str, ...]:  # type: ignore[override]
        """Steps of the paper's inference that ``decide`` takes, by the protocols' keys; none that is set otherwise."""
        segments = self.method.segments
        steps = ["group-threshold"]
        if segments.kept_classes == 5:
            steps.append("image-top5")
        if segments.maps == "soft":
            steps.append("group-pixels")
        return tuple(steps)

    @property
    def stride(self) -> int:
        """Pixels per patch."""
        return self.image_encoder.stride

    @property
    def scale(self) -> Float[Tensor, ""]:
        """What cosines are multiplied by, at test time and in the loss of captions."""
        return capped_scale(self.logit_scale, self.method.highest_scale)

    def encode_images(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode images to segments, patches and the image's vector; the last is of unit length."""
        features = self.image_encoder(images)
        assert features.global_token is not None
        return PatchFeatures(
            tokens=features.tokens,
            grid=features.grid,
            stride=features.stride,
            global_token=normalize(features.global_token, dim=-1),
            segments=features.segments,
        )

    def embed_texts(self, names: Sequence[str], prompts: str) -> Float[Tensor, "S D"]:
        """Embed class names: every template of the prompt set, averaged, of unit length."""
        large = sum(value.numel() for value in self.text_encoder.parameters()) > _WORTH_A_FILE
        return embed_names(self.text_encoder, names, prompts, cache="default" if large else None)

    @property
    def image_side(self) -> int:
        """Side of the square images that it was trained on."""
        return self.image_encoder.shape.image_side

    def embed_sentences(self, sentences: Sequence[str]) -> Float[Tensor, "T D"]:
        """Embed sentences as they are, of unit length."""
        return normalize(self.text_encoder(sentences), dim=-1)

    def class_scores(
        self, features: PatchFeatures, embeddings: Float[Tensor, "S D"]
    ) -> Float[Tensor, "B S h w"]:
        """Assign every patch the affinities of its best segment; every name is a class of its own."""
        assert features.segments is not None
        affinity, _, _ = self._compare(features, embeddings, [1] * len(embeddings), "max")
        best = features.segments.shares.argmax(dim=2)
        of_patches = torch.take_along_dim(affinity, best[:, :, None], dim=1)
        return rearrange(of_patches, "b (h w) s -> b s h w", h=features.grid[0])

    def refuse_settings(self, settings: InferenceSettings) -> None:
        """Refuse windows that are weighed by distance, and thresholds that no affinity reaches."""
        super().refuse_settings(settings)
        if settings.window is not None and settings.blend != "mean":
            raise _refused(
                f"blend = {settings.blend!r}",
                "mean: the classes of overlapping windows are averaged alike",
                "Leave blend out, or use --blend mean.",
            )
        if settings.background == "threshold" and (settings.threshold or 0.0) > 1:
            raise _refused(
                f"threshold = {settings.threshold}",
                "an affinity, 1 at most",
                "Use 0.95 (many classes that are seldom there) to 0.35 (classes that cover the image).",
            )

    def redecisions(self, settings: InferenceSettings) -> frozenset[Redecision]:
        """Return both for a run by a threshold: its scores are the threshold up to which a pixel keeps its class.

        Other runs keep affinities, which windows and borders between segments have blurred.
        """
        by_threshold = settings.background == "threshold"
        return frozenset({"threshold", "drop_background"}) if by_threshold else frozenset()

    @torch.inference_mode()
    def decide(self, encoded: EncodedImage, class_names: ClassNames, settings: InferenceSettings) -> Decision:
        """Name the segments of each window, average windows, and take the best class of every pixel.

        With a threshold, the score of a pixel is the threshold above which the segments there outvote its class
        (``stitching.thresholds``); else it is the affinity of its class.

        Args:
            encoded: The image and its features.
            class_names: What competes.
            settings: The settings that apply to this image.
        """
        affinities = [each.affinity for each in self.similarities(encoded, class_names, settings)]
        # Most classes are among the few of no window: they are left out.
        used = torch.stack([each.amax(0) > 0 for each in affinities]).any(0).nonzero()[:, 0]
        labels = np.asarray(class_names.labels, np.uint16)[used.numpy()]
        named = [
            NamedSegments(
                window=window,
                segment_of=segment_map(features, window),
                scores=affinity[:, used],
                weights=encoded.weights[index] if encoded.weights else None,
            )
            for index, (features, window, affinity) in enumerate(
                zip(encoded.features, encoded.windows, affinities, strict=True)
            )
        ]
        size = (encoded.image.shape[0], encoded.image.shape[1])
        best = best_columns(named, encoded.resized_size, size, settings.memory_mb)
        scores = best.best
        if settings.background == "threshold":
            kept = [kept_up_to(each) for each in affinities]
            scores = thresholds(named, kept, best.best, encoded.resized_size, settings.memory_mb)
        if settings.refine != "none" and len(labels) > 1:
            winners = np.flatnonzero(label_counts(best.labels, len(labels))[0])
            columns = grid_columns(named, encoded.resized_size, self.stride)[torch.from_numpy(winners)]
            refine = refine_labels_crf if settings.refine == "crf" else refine_labels
            best = refine(columns, encoded.image)
            labels = labels[winners]
        return Decision(labels=relabel(best.labels, labels), scores=scores)

    @torch.inference_mode()
    def similarities(
        self, encoded: EncodedImage, class_names: ClassNames, settings: InferenceSettings
    ) -> list[WindowSimilarities]:
        """Compare the segments of each window with the competing classes, on the CPU.

        Args:
            encoded: The image and its features.
            class_names: What competes.
            settings: How several names of a class are brought together.
        """
        how = (class_names.embeddings, class_names.counts, settings.synonyms)
        found = (self._compare(features, *how) for features in encoded.features)
        return [WindowSimilarities(*(part[0].cpu() for part in each)) for each in found]

    def grounds(self, asked: AskedPixel) -> Grounds:
        """Tell which segment a pixel is in, and what that segment and the whole window are similar to."""
        return segment_grounds(self, asked)

    def _compare(
        self, features: PatchFeatures, names: Tensor, counts: Sequence[int], synonyms: str
    ) -> tuple[Float[Tensor, "B G K"], Float[Tensor, "B G K"], Float[Tensor, "B K"]]:
        assert features.segments is not None
        assert features.global_token is not None
        segments = name_similarities(features.segments.embeddings, names, counts, synonyms)
        image = name_similarities(features.global_token, names, counts, synonyms)
        return class_affinity(segments, image, self.scale, self.method.segments.kept_classes), segments, image

    def embed(self, batch: Batch) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B E"]]:
        """Embed images, captions and word prompts, before the projections.

        The projections belong to the comparison: their batch norms then see the whole batch, of all devices,
        however small the parts are in which images and texts are embedded.

        Returns:
            One row an image: the mean of its segments; its caption and its word prompts, one after the other.

        Raises:
            InputError: The batch has no captions, or no word prompts where there is a loss for them.
        """
        if batch.captions is None or (batch.word_prompts is None and self.method.word_loss > 0):
            raise InputError(
                doing="training GroupViT",
                found="images without captions" if batch.captions is None else "images without word prompts",
                expected="one sentence an image, and word prompts where word_loss is above 0",
                fix="Use data that has captions, with word_prompts; or set --method.word-loss 0.",
            )
        rows: list[tuple[str, ...]] = [(caption,) for caption in batch.captions]
        if self.method.word_loss > 0 and batch.word_prompts is not None:
            rows = [(*row, *words) for row, words in zip(rows, batch.word_prompts, strict=True)]
        # Captions that fill the places of missing words are encoded once.
        place = {
            text: index for index, text in enumerate(dict.fromkeys(text for row in rows for text in row))
        }
        encoded = self.text_encoder.pooled(list(place))
        texts = encoded[torch.tensor([[place[text] for text in row] for row in rows], device=encoded.device)]
        return self.image_encoder.pooled(batch.pixels()), rearrange(texts, "b k d -> b (k d)")

    def contrast(self, images: Float[Tensor, "B D"], texts: Float[Tensor, "B E"]) -> LossTerms:
        """Compare every image with every caption and every word prompt.

        Args:
            images: As ``embed`` gives them.
            texts: Likewise.
        """
        by_image = rearrange(texts, "b (k d) -> b k d", d=self.image_encoder.shape.text_width)
        image = normalize(self.image_encoder.visual_projection(images).float(), dim=-1)
        text = normalize(self.text_encoder.text_projection(by_image).float(), dim=-1)
        scale = self.scale
        terms = {"caption": contrastive_loss(image, text[:, 0], 1 / scale)}
        observed = {"scale": scale.detach()}
        if text.shape[1] > 1:
            word_scale = self.word_scale()
            terms["words"] = multi_label_loss(image, text[:, 1:], word_scale, self.method.positives)
            observed["word_scale"] = word_scale.detach()
        weights = {"words": self.method.word_loss} if "words" in terms else {}
        return LossTerms(terms=terms, weights=weights, observed=observed)

    def loss(self, batch: Batch) -> LossTerms:
        """Embed this device's share, gather all devices', and compare."""
        images, texts = self.embed(batch)
        return self.contrast(gather_batch(images), gather_batch(texts))

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return matrices and tables, which decay, apart from vectors and numbers, which do not."""
        trained = [(name, value) for name, value in self.named_parameters() if value.requires_grad]
        return [
            ParameterGroup(parameters=[pair for pair in trained if pair[1].ndim > 1]),
            ParameterGroup(parameters=[pair for pair in trained if pair[1].ndim <= 1], decayed=False),
        ]


def _refused(found: str, expected: str, fix: str) -> InputError:
    return InputError(
        doing="reading the inference settings of GroupViT", found=found, expected=expected, fix=fix
    )
