"""Curated concepts as word prompts: CoCu's training texts.

Xing et al., "Rewrite Caption Semantics: Bridging Semantic Gaps for Language-Supervised Semantic Segmentation",
NeurIPS 2023. The words that an image is asked for come from its curated concepts, no longer from its caption, which
keeps its own loss.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from lexiseg.core.errors import DatasetError
from lexiseg.data.curation.curated import CuratedImages
from lexiseg.data.curation.drawing_concepts import Sampling, draw_concepts, visit_texts
from lexiseg.data.curation.manifests import STAGES, read_stage
from lexiseg.ops.prompts import find_prompt_set


class CuratedPrompts:
    """Draws curated concepts of an image and makes sentences of them. Crosses process borders.

    Args:
        folder: The curation of the data that is trained on.
        sampling: How concepts are drawn at each visit.
        count: Sentences an image; the caption stands in for concepts that are missing.
        prompts: Name of the prompt set that templates are drawn from.

    Raises:
        DatasetError: A stage of the curation is missing, or a shard.
    """

    def __init__(
        self, folder: Path, *, sampling: Sampling = "cluster", count: int = 3, prompts: str = "imagenet80"
    ) -> None:
        self.curated = CuratedImages(folder)
        self.sampling, self.count, self.prompts = sampling, count, prompts

    def __call__(self, source: str, caption: str, rng: np.random.Generator) -> tuple[str, ...]:
        """Return ``count`` sentences.

        Raises:
            DatasetError: The image is not among the curated ones.
        """
        record = self.curated.find(source)
        if record is None:
            raise DatasetError(
                doing=f"looking up the curated concepts of {source}",
                found=f"no such image among the {len(self.curated):,} in {self.curated.folder}",
                expected="the curation of the data that is trained on",
                fix="Curate these captions: lexiseg curate all CAPTIONS --out FOLDER.",
            )
        places = draw_concepts(record.scores, record.clusters, rng, sampling=self.sampling, count=self.count)
        concepts = [record.concepts[place] for place in places]
        templates = find_prompt_set(self.prompts).templates
        return visit_texts(caption, concepts, templates, rng, count=self.count)[1:]

    def describe(self) -> str:
        """Say how concepts are drawn, and hash what the curation was made with."""
        made_with = [read_stage(self.curated.folder, stage) for stage in STAGES]
        digest = hashlib.sha256(json.dumps(made_with, sort_keys=True).encode()).hexdigest()[:16]
        return f"curated concepts, {self.sampling}, {digest}"

    def __repr__(self) -> str:
        return f"CuratedPrompts({self.describe()}, {self.count}, {self.prompts})"
