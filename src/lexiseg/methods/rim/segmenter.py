"""RIM: give a region the class whose reference images rank all classes as the region does.

Wang et al., "Image-to-Image Matching via Foundation Models: A New Perspective for Open-Vocabulary
Semantic Segmentation", CVPR 2024 (its supplement is titled "Rethinking the Region Classification in
Open-Vocabulary Semantic Segmentation: An Image-to-Image View").

* Class names become reference images (``references``), references become features of their objects.
* An image becomes regions; regions of which one holds more than 0.9 of the other are one (stated).
* A region's similarities to all classes are a ranking; the class wins whose references rank the
  classes most alike. **This formula is our reconstruction** (``ops.ranking``): of the paper's we
  know the idea only.

Differences from the paper: any image encoder and any mask proposer, not only DINOv2 and SAM; a
background word, a threshold and pixels outside all regions have rules of ours (``decide``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError, VocabularyError
from lexiseg.core.features import PatchFeatures
from lexiseg.core.file_names import class_key
from lexiseg.core.interfaces import ImageEncoder, MaskProposer
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.decision import Decision, Redecision
from lexiseg.inference.encode import EncodedImage
from lexiseg.inference.grounds import AskedPixel, Grounds
from lexiseg.inference.predict import best_classes
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.rim.evidence import region_grounds
from lexiseg.methods.rim.references.bank import ReferenceBank, describe_encoder
from lexiseg.methods.rim.settings import RIMSettings
from lexiseg.methods.rim.vocabulary_references import (
    BACKGROUND,
    MISSING,
    VocabularyReferences,
    background_rows,
    match_features,
    select_references,
)
from lexiseg.ops.mask_fusing import fuse_masks
from lexiseg.ops.painting import paint_regions
from lexiseg.ops.region_matching import RegionMatch, reference_scores
from lexiseg.ops.region_pooling import pool_regions

_BACKGROUND_WORD = "background"
#: Score of a class that the bank does not have: below every cosine.
_NEVER = -2.0
#: Vocabularies whose references are kept at hand: for regions, and for pixels outside them.
_REMEMBERED = 4


class RIM(Segmenter):
    """Label regions by reference images. Scores are cosines, of regions where there are any.

    A class embedding here is its row in the bank. ``class_scores`` is the plain cosine of a patch with
    the nearest reference of a class; it decides only for pixels outside all regions.

    Args:
        bank: Reference images of the classes that can be asked for.
        image_encoder: The one the bank was built with.
        proposer: Cuts images into regions.
        encoder_fingerprint: Content hash of ``image_encoder``.
        proposer_facts: What the proposer is, for the record.
        settings: Inference defaults.
        method: How regions are made and matched.

    Raises:
        DatasetError: The bank was built with another encoder.
    """

    name = "rim"
    has_probabilities = False

    def __init__(
        self,
        bank: ReferenceBank,
        image_encoder: ImageEncoder,
        proposer: MaskProposer,
        *,
        encoder_fingerprint: str,
        proposer_facts: Mapping[str, Any],
        settings: InferenceSettings,
        method: RIMSettings | None = None,
        notice: str | None = None,
    ) -> None:
        super().__init__()
        if bank.encoder["fingerprint"] != encoder_fingerprint:
            raise DatasetError(
                doing=f"opening the reference bank {bank.path}",
                found=f"features of {describe_encoder(bank.encoder)}",
                expected=f"features of the image encoder in use ({encoder_fingerprint[:12]})",
                fix="Give the bank's own encoder with --set encoder=FOLDER, or build the bank again with this one: "
                "lexiseg references build. Features of two encoders cannot be compared.",
            )
        self.bank = bank
        self.image_encoder = image_encoder
        self.proposer = proposer
        self.settings = settings
        self.method = method or RIMSettings()
        self.notice = notice
        self.method_settings = {
            **asdict(self.method),
            "image_encoder": encoder_fingerprint,
            "proposer": dict(proposer_facts),
            "classes": len(bank),
            "class_keys": {name: (bank.key(name) or "")[:16] for name in bank.names},
        }
        further = {
            class_key(word): row for row, name in enumerate(bank.names) for word in bank.synonyms(name)
        }
        self._row_of = {**further, **{class_key(name): row for row, name in enumerate(bank.names)}}
        self.tells_unknown = self.method.unknown != "off"
        #: A region whose largest cosine with all references is below this resembles none of them.
        self.near_from = (
            _NEVER if self.method.unknown == "off" else bank.nearness_quantile(self.method.unknown_share)
        )
        self._chosen: dict[tuple[tuple[int, ...], tuple[int, ...]], VocabularyReferences] = {}
        self._regions: WeakKeyDictionary[EncodedImage, Bool[np.ndarray, "Q H W"]] = WeakKeyDictionary()

    @property
    def stride(self) -> int:
        """Pixels per patch."""
        return self.image_encoder.stride

    def encode_images(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images in [0, 1]; the tokens are as the encoder leaves them."""
        return self.image_encoder(images)

    def embed_texts(self, names: Sequence[str], prompts: str) -> Float[Tensor, "S 1"]:
        """Return the bank's row of each name, -1 for a name it does not have, -2 for "background"."""
        rows = [
            BACKGROUND
            if class_key(name) == _BACKGROUND_WORD and class_key(name) not in self._row_of
            else self._row_of.get(class_key(name), MISSING)
            for name in names
        ]
        return torch.tensor(rows, dtype=torch.float32)[:, None]

    def is_missing(self, embeddings: Float[Tensor, "S 1"]) -> Bool[Tensor, " S"]:
        """Return which names the bank does not have; background is no row of it either."""
        return embeddings[:, 0] < 0

    def class_scores(
        self, features: PatchFeatures, embeddings: Float[Tensor, "S 1"]
    ) -> Float[Tensor, "B S h w"]:
        """Return the cosine of every patch with the nearest reference of each name, -2 for missing names."""
        chosen = self._competitors(embeddings, range(len(embeddings)))
        tokens = features.tokens
        flat = rearrange(tokens, "b n d -> (b n) d").cpu()
        scores = flat.new_full((len(flat), len(embeddings)), _NEVER)
        if len(chosen.labels):
            found = reference_scores(flat, chosen.references)
            scores.scatter_reduce_(1, chosen.labels.expand(len(flat), -1), found, reduce="amax")
        return rearrange(scores, "(b h w) s -> b s h w", h=features.grid[0], w=features.grid[1]).contiguous()

    def check_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Refuse classes without references, unless they may be left out.

        Raises:
            VocabularyError: The bank lacks a class, or has none of them.
        """
        missing = [
            names[0]
            for names in vocabulary.all_names()
            if not any(
                class_key(name) in self._row_of or class_key(name) == _BACKGROUND_WORD for name in names
            )
        ]
        if len(missing) == len(vocabulary) or (missing and self.method.missing_words == "refuse"):
            shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
            has = ", ".join(self.bank.names[:8]) + (", …" if len(self.bank) > 8 else "")
            raise VocabularyError(
                doing=f"looking for references in {self.bank.path}",
                found=f"none for {shown}",
                expected=f"references for every class (the bank has {len(self.bank)}: {has})",
                fix=f'Add them: lexiseg references build --words "{", ".join(missing[:8])}" --out '
                f"{self.bank.path} --source …, or leave them out with --set missing_words=leave_out.",
            )
        if self.method.missing_words == "refuse" and self._asks_for_background(vocabulary):
            self._refuse_empty_background()

    def _asks_for_background(self, vocabulary: Vocabulary) -> bool:
        words = [class_key(name) for names in vocabulary.all_names() for name in names]
        return _BACKGROUND_WORD in words and _BACKGROUND_WORD not in self._row_of

    def _refuse_empty_background(self) -> None:
        """Refuse the word "background" where the bank has nothing that it could stand for."""
        if background_rows(self.bank, self.method):
            return
        words = ", ".join(self.method.background_words[:6])
        wanted = (
            f"stuff words ({words}, …) or surroundings of the objects in its images"
            if self.method.background == "words"
            else "surroundings of the objects in its images"
        )
        raise VocabularyError(
            doing=f'looking for references of "background" in {self.bank.path}',
            found=f"no such references, among {len(self.bank)} classes made from images without a scene",
            expected=wanted,
            fix=f'Build some: lexiseg references build --words "{words}" --out {self.bank.path} --source …, or go by '
            "a threshold instead of the word: --background threshold --threshold 0.3.",
        )

    def regions(self, encoded: EncodedImage) -> Bool[np.ndarray, "Q H W"]:
        """Propose regions of an image and fuse them; remembered while ``encoded`` is."""
        if encoded not in self._regions:
            masks = self.proposer.propose(encoded.image)
            found = masks.masks
            if self.method.fusing != "none" and len(masks):
                found = fuse_masks(
                    found,
                    reading=self.method.fusing,
                    threshold=self.method.fusing_threshold,
                    largest_absorber=self.method.largest_absorber,
                )
            self._regions[encoded] = found
        return self._regions[encoded]

    def remembered_bytes(self, encoded: EncodedImage) -> int:
        """Return the memory of the regions that are remembered."""
        return self._regions[encoded].nbytes if encoded in self._regions else 0

    @torch.inference_mode()
    def region_features(self, encoded: EncodedImage) -> Float[Tensor, "Q D"]:
        """Return the unit feature of each region; over windows, their mean by area."""
        regions = self.regions(encoded)
        height, width = regions.shape[1:]
        total: Tensor | float = 0.0
        for window, features in zip(encoded.windows, encoded.features, strict=True):
            down, along = height / encoded.resized_size[0], width / encoded.resized_size[1]
            top, left = int(window.top * down), int(window.left * along)
            bottom = max(top + 1, round((window.top + window.height) * down))
            right = max(left + 1, round((window.left + window.width) * along))
            part = regions[:, top:bottom, left:right]
            area = torch.from_numpy(part.reshape(len(part), -1).mean(1))[:, None].float()
            total = total + area * pool_regions(features.tokens[0].cpu(), features.grid, part)
        return normalize(torch.as_tensor(total), dim=-1)

    def match(
        self, features: Float[Tensor, "Q D"], chosen: VocabularyReferences
    ) -> tuple[RegionMatch, Float[Tensor, "Q K"]]:
        """Return how regions match the competitors, and the cosines that this was made from."""
        return match_features(features, chosen, self.method)

    def nearness(self, features: Float[Tensor, "Q D"]) -> Float[Tensor, " Q"]:
        """Return the largest cosine of each region with all references of the bank, asked for or not."""
        return (features @ normalize(self.bank.references, dim=-1).T).amax(1)

    def competitors(self, names_of_classes: Sequence[Sequence[str]]) -> VocabularyReferences:
        """Take the references of a vocabulary's classes out of the bank."""
        rows = self.embed_texts([name for names in names_of_classes for name in names], "")
        return self._competitors(rows, [k for k, names in enumerate(names_of_classes) for _ in names])

    def chosen_for(self, class_names: ClassNames) -> VocabularyReferences:
        """Take the references of competing names out of the bank; their labels are places in ``class_names.labels``."""
        places = [class_names.labels.index(label) for label in class_names.owner]
        return self._competitors(class_names.embeddings, places)

    def grounds(self, asked: AskedPixel) -> Grounds:
        """Tell how the region of a pixel ranks the classes, and which reference images are nearest to it."""
        return region_grounds(self, asked)

    def _competitors(self, embeddings: Float[Tensor, "S 1"], labels: Sequence[int]) -> VocabularyReferences:
        rows = tuple(int(row) for row in embeddings[:, 0].tolist())
        wanted = (rows, tuple(labels))
        if wanted not in self._chosen:
            if len(self._chosen) >= _REMEMBERED:
                self._chosen.clear()
            self._chosen[wanted] = select_references(self.bank, rows, labels, self.method)
        return self._chosen[wanted]

    def redecisions(self, settings: InferenceSettings) -> frozenset[Redecision]:
        """Return ``threshold`` for runs by a threshold: elsewhere pixels outside all regions have a class."""
        return frozenset({"threshold"} if settings.background == "threshold" else ())

    def decide(self, encoded: EncodedImage, class_names: ClassNames, settings: InferenceSettings) -> Decision:
        """Label regions, paint the larger first, then fill the pixels outside all regions.

        These become background where the vocabulary has the word or a threshold is set, else the class
        of their own patch by plain cosine. Regions follow edges already: ``refine`` has nothing to do, nor has
        ``background``: a bank may have references for that word.
        """
        embeddings, counts = class_names.embeddings, class_names.counts
        owner = [class_names.labels.index(label) for label in class_names.owner]
        chosen = self.chosen_for(class_names)
        size = (encoded.image.shape[0], encoded.image.shape[1])
        regions = self.regions(encoded)
        painted = np.full(size, -1, np.int32)
        scores = np.full(size, _NEVER, np.float32)
        unknown = np.zeros(size, bool)
        if len(regions) and len(chosen.labels):
            features = self.region_features(encoded)
            matched, cosines = self.match(features, chosen)
            winning = cosines.gather(1, matched.labels[:, None])[:, 0].numpy()
            region_of = paint_regions(regions)
            inside = region_of >= 0
            painted[inside] = chosen.labels[matched.labels].numpy()[region_of[inside]]
            scores[inside] = winning[region_of[inside]]
            if self.method.unknown != "off":
                is_unknown = (self.nearness(features) < self.near_from).numpy()
                unknown[inside] = is_unknown[region_of[inside]]
        outside = painted < 0
        words = [owner[name] for name, row in enumerate(embeddings[:, 0].tolist()) if row == BACKGROUND]
        if words:
            painted[outside], scores[outside] = words[0], 0.0
        elif outside.any() and settings.background != "threshold":
            best = best_classes(encoded, self.class_scores, embeddings, counts, settings=settings)
            painted[outside], scores[outside] = best.labels[outside], best.best[outside]
        else:
            painted[outside] = 0  # below every threshold: background
        labels = np.asarray(class_names.labels, np.uint16)[painted]
        if self.method.unknown == "label":
            labels[unknown] = IGNORE_INDEX
        return Decision(
            labels=labels, scores=scores, unknown=None if self.method.unknown == "off" else unknown
        )
