"""SAM 3 as a segmenter: one query a name, semantic map and instances fused, the best name wins.

Carion et al., "SAM 3", 2025, with two ways of fusing that others published for it: ``v1`` after SegEarth-OV-3 (presence
multiplies everything), ``v2`` after ConceptBank (presence multiplies the semantic map; it is in the instances' scores
already). Written from a description of their formulas; neither repository has a licence, and neither was read. Logits are
resized before the sigmoid, as both do; transformers' own processing does it the other way round.

Names have no common scale: what wins between two names is what each says of itself. Figures are published, not measured here.
"""

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from lexiseg.core.errors import InputError
from lexiseg.core.explanation import Evidence
from lexiseg.core.features import PatchFeatures
from lexiseg.core.setting_ranges import Range, check_ranges
from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.decision import Decision, Redecision
from lexiseg.inference.encode import EncodedImage
from lexiseg.inference.grounds import AskedPixel, Grounds, window_at
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.models.sam3 import MAX_TOKENS, NamePredictions, Sam3
from lexiseg.ops.resize import resize_rows
from lexiseg.ops.sliding_window import Blend, stitch_band

#: Seconds an image may take before its cost is said.
_LONG = 30.0


@dataclass(frozen=True, kw_only=True)
class Sam3Settings:
    """How what SAM 3 says of a name becomes one score a pixel.

    Attributes:
        fusion: Reading of presence: ``v2`` lets it multiply the semantic map alone, ``v1`` everything.
        min_instance_score: Instances that score more count; published with 0.5 for few classes of things, 0.3 for scenes,
            0.2 for many.
        num_instances: The best so many instances of a name count, in ``v2``.
    """

    fusion: Literal["v1", "v2"] = "v2"
    min_instance_score: float = 0.3
    num_instances: int = 30

    def __post_init__(self) -> None:
        ranges = {"min_instance_score": Range(least=0, most=1), "num_instances": Range(least=1)}
        check_ranges(self, ranges, method="SAM 3")


class Sam3Segmenter(Segmenter):
    """Probabilities of every name at every pixel, in [0, 1].

    The image, or each window, is squashed to the network's square, whatever its shape, and encoded once; a name costs a
    pass through detector and mask head, and its masks are fused before the next ones are asked for.

    Args:
        model: The network.
        settings: Inference defaults.
        method: How answers are fused.
        name: What the model was asked for by.
    """

    has_probabilities = False
    measure = "probability"

    def __init__(self, model: Sam3, *, settings: InferenceSettings, method: Sam3Settings, name: str) -> None:
        super().__init__()
        self.model, self.settings, self.method, self.name = model, settings, method, name
        self.method_settings = {**asdict(method), "weights": model.fingerprint}

    @property
    def stride(self) -> int:
        """Pixels per patch."""
        return self.model.stride

    def refuse_settings(self, settings: InferenceSettings) -> None:
        """Refuse tiles, templates and moved borders: the network sees squares and reads bare names.

        Raises:
            InputError: One of them is asked for.
        """
        super().refuse_settings(settings)
        for name, allowed in (("tiles", "off"), ("prompts", "bare"), ("refine", "none")):
            found = getattr(settings, name)
            if found != allowed:
                raise InputError(
                    doing=f"labelling with {self.name}",
                    found=f"{name} = {found!r}",
                    expected=f"{allowed}: the network sees squares, reads bare names and draws its own borders",
                    fix=f"Leave {name} out.",
                )

    def encode_images(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images in [0, 1] once for all names; ``levels`` is what names are asked on."""
        side = self.model.input_side
        if images.shape[2:] != (side, side):
            images_seen = interpolate(
                images, size=(side, side), mode="bilinear", antialias=True, align_corners=False
            )
        else:
            images_seen = images
        levels = self.model.encode(images_seen)
        levels = tuple(level.expand(len(images), *level.shape[1:]) for level in levels)
        grid = (images.shape[2] // self.stride, images.shape[3] // self.stride)
        coarse = interpolate(levels[2], size=grid, mode="bilinear", align_corners=False)
        tokens = rearrange(coarse, "b d h w -> b (h w) d")
        return PatchFeatures(tokens=tokens, grid=grid, stride=self.stride, levels=levels)

    def embed_texts(self, names: Sequence[str], prompts: str) -> Float[Tensor, "S D"]:
        """Embed names as they are: the vectors of their tokens, then which of these are real, in one row each."""
        texts, mask = self.model.embed(names)
        return torch.cat([rearrange(texts * mask[..., None], "t l d -> t (l d)"), mask.to(texts)], dim=1)

    def class_scores(
        self, features: PatchFeatures, embeddings: Float[Tensor, "S D"]
    ) -> Float[Tensor, "B S h w"]:
        """Score every name on the grid of patches; ``decide`` does it at every pixel."""
        assert features.levels is not None
        return torch.stack(
            [
                torch.stack(
                    [
                        self._of_name(
                            [level[one : one + 1] for level in features.levels], row[None], features.grid
                        )
                        for row in embeddings
                    ]
                )
                for one in range(len(features.tokens))
            ]
        )

    @torch.inference_mode()
    def decide(self, encoded: EncodedImage, class_names: ClassNames, settings: InferenceSettings) -> Decision:
        """Ask for some names at a time, fuse at the image's own size, and keep the best name of every pixel."""
        levels = _finest(encoded)
        size = (encoded.image.shape[0], encoded.image.shape[1])
        owners = torch.tensor([class_names.labels.index(label) for label in class_names.owner])
        at_once = names_at_once(self.model.num_queries, levels.shape[2:], settings.memory_mb)
        best = torch.full(size, -1.0, device=levels.device)
        places = torch.zeros(size, dtype=torch.long, device=best.device)
        num_names, began = len(class_names.names), time.monotonic()
        mean = torch.zeros(size, device=best.device)
        for start in range(0, num_names, at_once):
            found = self._probabilities(
                encoded, class_names.embeddings[start : start + at_once], settings.blend
            )
            for name, probability in enumerate(found, start):
                count = class_names.counts[owners[name]]
                if settings.synonyms == "mean" and count > 1:
                    first = name == 0 or owners[name] != owners[name - 1]
                    mean = (0 if first else mean) + probability / count
                    if name + 1 < num_names and owners[name + 1] == owners[name]:
                        continue
                    probability = mean
                better = probability > best
                best = torch.where(better, probability, best)
                places = torch.where(better, owners[name].to(places), places)
            if start == 0 and num_names > at_once:
                self._say_cost(num_names, (time.monotonic() - began) / at_once)
        labels = np.asarray(class_names.labels, np.uint16)
        return Decision(labels=labels[places.cpu().numpy()], scores=best.float().cpu().numpy())

    @torch.inference_mode()
    def grounds(self, asked: AskedPixel) -> Grounds:
        """Tell the probability of every name at the pixel, whether it is in the image at all, and its best instance here."""
        encoded, names = asked.encoded, asked.class_names
        x, y = asked.point
        at_once = names_at_once(self.model.num_queries, _finest(encoded).shape[2:], asked.settings.memory_mb)
        of_names = []
        for start in range(0, len(names.names), at_once):
            rows = names.embeddings[start : start + at_once]
            of_names += [
                float(found[y, x]) for found in self._probabilities(encoded, rows, asked.settings.blend)
            ]
        reduce = np.mean if asked.settings.synonyms == "mean" else np.max
        values = np.array(
            [reduce([of_names[row] for row in asked.rows_of(place)]) for place in range(len(names.labels))],
            np.float32,
        )
        grounds = Grounds(values=values, measure=self.measure)
        evidence: list[Evidence] = []
        for place in grounds.two_best(asked.place):
            row = max(asked.rows_of(place), key=lambda row: of_names[row])
            evidence += self._evidence(
                asked, names.names[row], names.embeddings[row], asked.class_name(place)
            )
        return replace(grounds, evidence=tuple(evidence))

    def _evidence(
        self, asked: AskedPixel, name: str, row: Float[Tensor, " D"], supports: str
    ) -> Iterator[Evidence]:
        index, (x, y) = window_at(asked.encoded, asked.point)
        levels, window = asked.encoded.features[index].levels, asked.encoded.windows[index]
        assert levels is not None
        found = self._predict(levels, row[None])
        how: dict[str, Any] = {"supports": supports, "measure": self.measure}
        yield Evidence(kind="presence", name=name, value=float(found.presence[0].sigmoid()), **how)
        height, width = found.masks.shape[2:]
        place = (
            min(int(y * height / window.height), height - 1),
            min(int(x * width / window.width), width - 1),
        )
        yield Evidence(
            kind="word", name=name, value=float(found.semantic[0][place[0], place[1]].sigmoid()), **how
        )
        instances = found.scores[0].sigmoid() * found.masks[0, :, place[0], place[1]].sigmoid()
        best = int(instances.argmax())
        yield Evidence(
            kind="instance", name=f"{name}, instance {best + 1}", value=float(instances[best]), **how
        )

    def redecisions(self, settings: InferenceSettings) -> frozenset[Redecision]:
        """Say that another threshold can be decided from a run by a threshold."""
        return frozenset({"threshold"} if settings.background == "threshold" else ())

    def _probabilities(
        self, encoded: EncodedImage, rows: Float[Tensor, "T D"], blend: Blend
    ) -> Iterator[Float[Tensor, "H W"]]:
        """Yield the probability of each name at every pixel; windows are blended at the image that was seen."""
        size, seen = (encoded.image.shape[0], encoded.image.shape[1]), encoded.resized_size
        if len(encoded.windows) == 1:
            levels = encoded.features[0].levels
            assert levels is not None
            predicted = self._predict(levels, rows)
            for index in range(len(rows)):
                yield fuse(predicted, index, size, self.method)
            return
        for row in rows:  # a name at a time: every window has masks of its own
            maps = []
            for window, features in zip(encoded.windows, encoded.features, strict=True):
                assert features.levels is not None
                maps.append(self._of_name(features.levels, row[None], (window.height, window.width))[None])
            stitched = stitch_band(maps, encoded.windows, seen, (0, seen[0]), blend=blend)
            yield resize_rows(stitched, size, (0, size[0]))[0]

    def _predict(self, levels: Sequence[Tensor], rows: Float[Tensor, "T D"]) -> NamePredictions:
        mask = rows[:, -MAX_TOKENS:] > 0.5
        texts = rearrange(rows[:, :-MAX_TOKENS], "t (l d) -> t l d", l=MAX_TOKENS)
        return self.model.predict(levels, texts, mask)

    def _of_name(self, levels: Sequence[Tensor], row: Float[Tensor, "1 D"], size: tuple[int, int]) -> Tensor:
        return fuse(self._predict(levels, row), 0, size, self.method)

    def _say_cost(self, num_names: int, seconds: float) -> None:
        if seconds * num_names > _LONG:
            warnings.warn(
                f"{self.name}: {seconds:.1f} s a name, about {seconds * num_names:,.0f} s an image for {num_names:,} names",
                stacklevel=3,
            )


def _finest(encoded: EncodedImage) -> Float[Tensor, "B D h w"]:
    levels = encoded.features[0].levels
    assert levels is not None
    return levels[0]


def names_at_once(num_queries: int, mask_size: Sequence[int], memory_mb: int) -> int:
    """Return how many names' masks fit the working memory, one at least: 67 MB a name at 288 by 288."""
    return max(1, memory_mb * 2**20 // (4 * (num_queries + 1) * mask_size[0] * mask_size[1]))


def fuse(
    predicted: NamePredictions, index: int, size: tuple[int, int], method: Sam3Settings
) -> Float[Tensor, "H W"]:
    """Compute the probability of one name at every pixel.

    Args:
        predicted: Of some names.
        index: Which of them.
        size: Of what is returned; logits are resized to it before the sigmoid.
        method: Reading of presence and which instances count.
    """
    presence = predicted.presence[index].sigmoid()
    semantic = _resized(predicted.semantic[index][None], size)[0].sigmoid()
    own = predicted.scores[index].sigmoid()
    scores = own * presence
    kept = (scores > method.min_instance_score).nonzero()[:, 0]
    if method.fusion == "v2":
        kept = kept[scores[kept].argsort(descending=True, stable=True)][: method.num_instances]
    found = presence * semantic if method.fusion == "v2" else semantic
    for query in kept:  # one map of the image's size at a time
        mask = _resized(predicted.masks[index, query][None], size)[0].sigmoid()
        found = torch.maximum(found, scores[query] * mask)
    return presence * found if method.fusion == "v1" else found


def _resized(logits: Float[Tensor, "1 h w"], size: tuple[int, int]) -> Float[Tensor, "1 H W"]:
    return interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]
