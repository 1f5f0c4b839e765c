"""ClipToSeg: a plain segmenter whose scores are the cosines of its embeddings with texts.

In training it is taught by ``Distillation``; afterwards nothing of that is left, nor of the teacher's image side.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, replace

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from lexiseg.core.batch import Batch
from lexiseg.core.errors import InputError
from lexiseg.core.explanation import Evidence
from lexiseg.core.features import PatchFeatures
from lexiseg.core.file_names import class_key
from lexiseg.core.interfaces import ParameterGroup, Trainable
from lexiseg.core.loss_terms import LossTerms
from lexiseg.data.partial_labels.distillation_batches import DistillationBatch
from lexiseg.inference.grounds import AskedPixel, Grounds, score_grounds
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.clip_to_seg.distillation import Distillation
from lexiseg.methods.clip_to_seg.settings import INITIAL_ALPHA, ClipToSegSettings
from lexiseg.methods.clip_to_seg.teacher import OpenTextSpace, TextSpace, unit_texts
from lexiseg.models.dense_student import DenseStudent
from lexiseg.ops.similarity import similarity_map

#: Colour of what is added beside an image: 128 of 255.
PADDING = 128 / 255
#: The scale of scores is bounded, as CLIP's is.
MAX_ALPHA = 100.0

_TRANSDUCTIVE = (
    "trained transductively: the names of the classes without masks were known in training, so its numbers are "
    "not those of zero-shot segmentation."
)


class ClipToSeg(Segmenter, Trainable):
    """Any words: a name is a row of text beside the others.

    Args:
        student: The network; its embeddings are in the space of the texts.
        open_texts: Gives that space when the first word is asked for.
        seen: Names of the classes that had masks.
        method: How it is trained, and γ.
        settings: Inference defaults.
        distillation: What it is trained with; None for a model that is only used.
        name: What the model is called.
    """

    scores_are_products = True
    measure = "scaled cosine"

    def __init__(
        self,
        student: DenseStudent,
        open_texts: OpenTextSpace,
        seen: Sequence[str],
        *,
        method: ClipToSegSettings,
        settings: InferenceSettings,
        distillation: Distillation | None = None,
        name: str = "clip-to-seg",
    ) -> None:
        super().__init__()
        self.training_only = ("distillation.",)
        self.student = student
        self.log_alpha = nn.Parameter(torch.tensor(math.log(INITIAL_ALPHA)))
        self.distillation = distillation
        self.method, self.settings, self.name = method, settings, name
        self.seen = tuple(seen)
        self.method_settings = {
            **asdict(method),
            "regime": "transductive" if method.transductive else "inductive",
        }
        self.notice = _TRANSDUCTIVE if method.transductive else None
        self._open_texts = open_texts
        self._texts: TextSpace | None = None

    @property
    def stride(self) -> int:
        """Pixels per position of the student's finest map."""
        return self.student.stride

    @property
    def alpha(self) -> Float[Tensor, ""]:
        """Scale of cosines with texts (α), at most ``MAX_ALPHA``."""
        return self.log_alpha.clamp(max=math.log(MAX_ALPHA)).exp()

    def encode_images(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Embed every position; a token is the unit embedding times α, then a 1 that carries γ.

        Images are filled up at the bottom and the right to what the backbone divides by.
        """
        height, width = images.shape[-2:]
        divisor = self.student.size_divisor
        maps = self.student(F.pad(images, (0, -width % divisor, 0, -height % divisor), value=PADDING))
        grid = (height // self.stride, width // self.stride)
        units = self.alpha * F.normalize(maps[..., : grid[0], : grid[1]].float(), dim=1)
        tokens = rearrange(units, "b d h w -> b (h w) d")
        return PatchFeatures(tokens=F.pad(tokens, (0, 1), value=1.0), grid=grid, stride=self.stride)

    def embed_texts(self, names: Sequence[str], prompts: str) -> Float[Tensor, "S E"]:
        """Return each name its unit text vector, then -γ where it had masks in training and 0 elsewhere.

        Raises:
            InputError: The texts are of another teacher than the student's.
        """
        if self._texts is None:
            self._texts = self._open_texts()
        texts = unit_texts(self._texts, names, prompts).to(self.log_alpha.device)
        if texts.shape[1] != self.student.dimensions:
            raise InputError(
                doing=f"embedding names for {self.name}",
                found=f"text vectors of length {texts.shape[1]}",
                expected=f"length {self.student.dimensions}, that of its teacher",
                fix="Use the teacher it was trained with.",
            )
        seen = {class_key(name) for name in self.seen}
        offsets = [-self.method.gamma if class_key(name) in seen else 0.0 for name in names]
        return torch.cat([texts, texts.new_tensor(offsets)[:, None]], dim=1)

    def class_scores(
        self, features: PatchFeatures, embeddings: Float[Tensor, "S D"]
    ) -> Float[Tensor, "B S h w"]:
        """Score names: α times the cosine, less γ for those that had masks."""
        return similarity_map(features.tokens, embeddings, features.grid)

    def grounds(self, asked: AskedPixel) -> Grounds:
        """Add to what class embeddings say the γ that was taken from classes with masks."""
        grounds = score_grounds(self, asked)
        offsets = tuple(
            Evidence(
                kind="offset",
                name="had masks in training",
                supports=asked.class_name(place),
                value=float(asked.class_names.embeddings[asked.rows_of(place)[0], -1]),
                measure=self.measure,
            )
            for place in grounds.two_best(asked.place)
            if asked.class_names.embeddings[asked.rows_of(place)[0], -1] != 0
        )
        return replace(grounds, evidence=(*grounds.evidence, *offsets))

    def loss(self, batch: Batch) -> LossTerms:
        """Compute the losses of what the teacher says and what the masks say."""
        assert self.distillation is not None, "a model that is only used"
        assert isinstance(batch, DistillationBatch), "another kind of batch"
        maps = self.student(batch.pixels())
        terms, observed = self.distillation(maps, batch, self.alpha)
        weights = {
            "global": self.method.global_weight,
            "local": self.method.local_weight,
            "text_space": self.method.text_space_weight,
            "exclusive": self.method.exclusive_weight,
        }
        used = {name: weight for name, weight in weights.items() if name in terms}
        return LossTerms(terms=terms, weights=used, observed=observed)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the student's groups, and α and the decoder at the head's rate; α is not decayed."""
        groups = self.student.parameter_groups("student.")
        others = [
            (name, value)
            for name, value in self.named_parameters()
            if value.requires_grad and not name.startswith("student.")
        ]
        for decayed in (True, False):
            members = [item for item in others if (item[1].ndim > 1) == decayed]
            groups.append(
                ParameterGroup(
                    parameters=members, decayed=decayed, lr_factor=self.student.settings.head_lr_factor
                )
            )
        return groups
