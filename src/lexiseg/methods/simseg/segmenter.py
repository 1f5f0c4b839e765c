"""SimSeg: a CLIP-style pair of encoders whose contrast is driven by a few local responses.

Yi et al., "A Simple Framework for Text-Supervised Semantic Segmentation", CVPR 2023. Training needs images
with captions, nothing else; a class is a word. Every token is projected to the shared space, the tokens of
an image or a sentence are pooled channel by channel (``text_encoder``), and the vectors are contrasted.

Differences from the paper: docs/methods/simseg.md. An image seen through windows, a vocabulary of one or
two words, and pixels without a mask where background is no class have rules of ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from PIL import Image
from torch import Tensor, nn

from lexiseg.core.batch import Batch
from lexiseg.core.errors import InputError
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ContrastiveTrainable, ImageEncoder, ParameterGroup
from lexiseg.core.label_maps import relabel
from lexiseg.core.loss_terms import LossTerms
from lexiseg.data.transforms import resize_image
from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.decision import Decision, Redecision
from lexiseg.inference.encode import EncodedImage
from lexiseg.inference.grounds import AskedPixel, Grounds
from lexiseg.inference.predict import best_classes, grid_scores
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.inference.text_embeddings import say_unreadable
from lexiseg.losses.contrastive import Temperature, contrastive_loss
from lexiseg.methods.simseg.class_masks import (
    close_mask,
    paste_masks,
    present_classes,
    resize_nearest,
    scale_map,
    upsample_nearest,
)
from lexiseg.methods.simseg.evidence import FoundClasses, class_grounds
from lexiseg.methods.simseg.settings import SimSegSettings
from lexiseg.methods.simseg.text_encoder import SimSegTextEncoder, pool_image, unit
from lexiseg.models.text_tokens import TokenEncoder
from lexiseg.ops.gather import gather_batch
from lexiseg.ops.resize import RunningBest
from lexiseg.ops.salient_object import rim_contrast
from lexiseg.ops.similarity import similarity_map

#: Below every cosine that a class of an image can have.
_NEVER = -1.0


class SimSeg(Segmenter, ContrastiveTrainable):
    """Train on captions, then segment by class names. Scores are cosines.

    The score map of a segmentation holds what the whole image scored for the class of each pixel.

    Args:
        image_encoder: Gives patch tokens and, for pooling ``cls``, a global token.
        image_width: Length of its tokens.
        text_encoder: Gives one vector a word piece.
        settings: Inference defaults.
        method: Pooling and masks.
        image_rate: Multiplies the learning rate of the image encoder; 0 freezes it.
        text_rate: The same of the text encoder. Projections and the temperature always learn.
    """

    name = "simseg"
    has_probabilities = False
    #: Of retrieval and classification: resize to 9/8 of the side, cut out the middle.
    image_fit: ClassVar[str] = "crop"

    def __init__(
        self,
        image_encoder: ImageEncoder,
        image_width: int,
        text_encoder: TokenEncoder,
        *,
        settings: InferenceSettings,
        method: SimSegSettings | None = None,
        image_rate: float = 1.0,
        text_rate: float = 1.0,
    ) -> None:
        super().__init__()
        self.method = method or SimSegSettings()
        self.settings = settings
        self.image_encoder = image_encoder
        self.image_projection = nn.Linear(image_width, self.method.embedding_dim, bias=False)
        nn.init.trunc_normal_(self.image_projection.weight, std=image_width**-0.5)
        self.texts = SimSegTextEncoder(text_encoder, self.method)
        self.temperature = Temperature(
            self.method.initial_temperature,
            lowest=self.method.lowest_temperature,
            highest=self.method.highest_temperature,
        )
        self.method_settings: Mapping[str, Any] = asdict(self.method)
        self._rates = {"image_encoder.": image_rate, "texts.network.": text_rate}
        for part, rate in ((image_encoder, image_rate), (text_encoder, text_rate)):
            if not rate:
                part.requires_grad_(False)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return each encoder's parameters with the factor of its learning rate, and the others."""
        trained = [(name, value) for name, value in self.named_parameters() if value.requires_grad]
        groups: dict[float, list[tuple[str, nn.Parameter]]] = {}
        for name, value in trained:
            rate = next((rate for part, rate in self._rates.items() if name.startswith(part)), 1.0)
            groups.setdefault(rate, []).append((name, value))
        return [ParameterGroup(parameters=values, lr_factor=rate) for rate, values in groups.items()]

    @property
    def stride(self) -> int:
        """Pixels per patch."""
        return self.image_encoder.stride

    def encode_images(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Project the patches (not normalised) and pool them to the image's vector, of unit length."""
        pooling = self.method.training if self.training else self.method.testing
        features = self.image_encoder(images)
        patches = self.image_projection(features.tokens)
        cls_token = features.global_token
        projected = patches[:, 0] if cls_token is None else self.image_projection(cls_token)
        return replace(features, tokens=patches, global_token=pool_image(patches, projected, pooling))

    def probe_features(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B F"]:
        """Average the encoder's patch tokens before the projection, as a linear probe of "Masked Autoencoders" takes them.

        Its other choice, the CLS token, gets no gradient of LoDA's.
        """
        return self.image_encoder(images).tokens.mean(1)

    def embed(self, batch: Batch) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
        """Embed images and captions as unit vectors.

        Raises:
            InputError: The batch has no captions.
        """
        if batch.captions is None:
            raise InputError(
                doing="training SimSeg",
                found="images without captions",
                expected="one sentence an image",
                fix="Use data that has captions.",
            )
        images = self.encode_images(batch.pixels()).global_token
        assert images is not None
        return images, self.texts(batch.captions)

    def contrast(self, images: Float[Tensor, "B D"], texts: Float[Tensor, "B D"]) -> LossTerms:
        """Compare every image with every caption."""
        temperature = self.temperature()
        return LossTerms(
            terms={"contrastive": contrastive_loss(images, texts, temperature)},
            observed={"temperature": temperature.detach()},
        )

    def loss(self, batch: Batch) -> LossTerms:
        """Embed this device's share, gather all devices', and contrast."""
        images, texts = self.embed(batch)
        return self.contrast(gather_batch(images), gather_batch(texts))

    def embed_texts(self, names: Sequence[str], prompts: str) -> Float[Tensor, "S D"]:
        """Embed class names: every template of the prompt set, averaged, of unit length."""
        return self.texts.embed_names(names, prompts)

    @property
    def image_side(self) -> int:
        """Side in pixels of the squares that images are resized to."""
        return max(1, round(self.settings.short_side / self.stride)) * self.stride

    def embed_sentences(self, sentences: Sequence[str]) -> Float[Tensor, "T D"]:
        """Embed sentences as they are, of unit length."""
        say_unreadable(self.texts, sentences)
        return self.texts(sentences)

    def class_scores(
        self, features: PatchFeatures, embeddings: Float[Tensor, "S D"]
    ) -> Float[Tensor, "B S h w"]:
        """Return the cosine of every patch with every name."""
        return similarity_map(unit(features.tokens), embeddings, features.grid)

    def image_scores(
        self, encoded: EncodedImage, class_names: ClassNames, settings: InferenceSettings
    ) -> Float32[np.ndarray, " C"]:
        """Compute the cosine of every competing class with the whole image: its vector, or the mean of its windows'."""
        vectors = [
            features.global_token[0] for features in encoded.features if features.global_token is not None
        ]
        of_names = class_names.embeddings @ unit(torch.stack(vectors).mean(0))
        reduce = torch.amax if settings.synonyms == "max" else torch.mean
        by_class = [reduce(part, dim=0) for part in torch.split(of_names, list(class_names.counts))]
        return torch.stack(by_class).float().cpu().numpy()

    @property
    def applies(self) -> tuple[str, ...]:  # type: ignore[override]
        """Steps of the paper's inference that ``decide`` takes, by the protocols' keys; none that is set otherwise."""
        masks = self.method.masks
        steps = []
        if (masks.num_std, masks.max_classes) == (1, 5):
            steps.append(f"simseg-candidates-{masks.threshold_top_k}")
        if (masks.map, masks.closing, masks.dilations, masks.erosions) == ("similarity", 7, 1, 1):
            steps.append("simseg-masks")
        return tuple(steps)

    def refuse_settings(self, settings: InferenceSettings) -> None:
        """Refuse the guided filter: masks are cut from single maps.

        Raises:
            InputError: ``refine`` is ``guided``.
        """
        super().refuse_settings(settings)
        if settings.refine == "guided":
            raise InputError(
                doing="cutting SimSeg's maps into masks",
                found=f"refine = {settings.refine!r}",
                expected="none (half of a map's range is the limit) or crf (masks follow the image's colours)",
                fix="Use --refine crf, or none.",
            )

    def redecisions(self, settings: InferenceSettings) -> frozenset[Redecision]:
        """Return ``threshold`` for runs by a threshold: elsewhere background decides which classes are there."""
        return frozenset({"threshold"} if settings.background == "threshold" else ())

    @torch.inference_mode()
    def decide(self, encoded: EncodedImage, class_names: ClassNames, settings: InferenceSettings) -> Decision:
        """Choose the classes of the image, find the mask of each, and paint.

        Pixels without a mask are background: the class, or what is below the threshold. Where there is
        neither, they get the class of their own patch. Masks compete by their class's score, background with
        0: where there is one, a class without a score above 0 has no pixel.
        """
        embeddings, counts = class_names.embeddings, class_names.counts
        found = self.find_classes(encoded, class_names, settings)
        scores, background = found.scores, found.background
        size = (encoded.image.shape[0], encoded.image.shape[1])
        if background is None and settings.background != "threshold":
            best = best_classes(encoded, self.class_scores, embeddings, counts, settings=settings)
            best.best[:] = scores[best.labels]
        else:
            best = RunningBest.empty(size)
            best.labels[:] = background or 0
            best.best[:] = _NEVER if background is None else scores[background]
        if found.present:
            paste_masks(found.masks, found.present, scores[list(found.present)].tolist(), best)
        labels = relabel(best.labels, np.asarray(class_names.labels, np.uint16))
        return Decision(labels=labels, scores=best.best)

    def find_classes(
        self, encoded: EncodedImage, class_names: ClassNames, settings: InferenceSettings
    ) -> FoundClasses:
        """Choose the classes of the image by its scores, and cut the mask of each."""
        background = (
            None if class_names.background is None else class_names.labels.index(class_names.background)
        )
        scores = self.image_scores(encoded, class_names, settings)
        present = present_classes(scores, background, self.method.masks)
        if background is not None or settings.background == "threshold":
            present = [label for label in present if scores[label] > 0]
        masks = np.zeros((0, *encoded.image.shape[:2]), bool)
        if present:
            masks = self._masks(encoded, self.word_maps(encoded, class_names, present, settings), settings)
        return FoundClasses(scores=scores, background=background, present=tuple(present), masks=masks)

    def grounds(self, asked: AskedPixel) -> Grounds:
        """Tell which classes the whole image has, whose masks hold the pixel, and which word pieces carry the winner."""
        return class_grounds(self, asked)

    def word_maps(
        self,
        encoded: EncodedImage,
        class_names: ClassNames,
        labels: Sequence[int],
        settings: InferenceSettings,
    ) -> Float32[np.ndarray, "M h w"]:
        """Compute the map of each of some classes that its mask is cut from, as ``masks.map`` says.

        Args:
            encoded: The image.
            class_names: All words: ``contrasted`` depends on those that are not asked for too. Of one word alone the mean
                is that word, and nothing is taken from it.
            labels: Classes asked for.
            settings: Of the inference.
        """
        kind, embeddings = self.method.masks.map, class_names.embeddings
        if kind == "contrasted" and len(embeddings) > 1:
            embeddings = embeddings - embeddings.mean(0)
        scores = grid_scores(
            encoded, self.class_scores, embeddings, class_names.counts, labels, settings=settings
        )
        maps: Float32[np.ndarray, "M h w"] = scores.float().cpu().numpy()
        if kind == "saliency":
            salient = Image.fromarray(rim_contrast(seen_pixels(encoded)))
            small = salient.resize((maps.shape[2], maps.shape[1]), Image.Resampling.BOX)
            return np.stack([np.asarray(small, np.float32)] * len(maps))
        return -maps if kind == "negated" else maps

    def _masks(
        self, encoded: EncodedImage, maps: Float32[np.ndarray, "M h w"], settings: InferenceSettings
    ) -> Bool[np.ndarray, "M H W"]:
        """Cut maps into masks at the size that the model saw, close them, and resize them to the image's."""
        large = upsample_nearest(scale_map(maps), self.stride)
        if settings.refine == "crf":
            from lexiseg.ops.dense_crf import DenseCrf

            masks = DenseCrf(seen_pixels(encoded)).binary(large)
        else:
            masks = large >= 0.5
        size = (encoded.image.shape[0], encoded.image.shape[1])
        return np.stack([resize_nearest(close_mask(mask, self.method.masks), size) for mask in masks])


def seen_pixels(encoded: EncodedImage) -> UInt8[np.ndarray, "h w 3"]:
    """Return the image as the model saw it, 0..255."""
    pixels = resize_image(encoded.image, encoded.resized_size)
    return np.ascontiguousarray((pixels * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
