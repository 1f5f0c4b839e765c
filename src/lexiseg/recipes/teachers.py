"""Teachers by name: what looks at images, and what gives names their vectors."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from lexiseg.core.errors import InputError
from lexiseg.core.setting_ranges import Range, check_ranges
from lexiseg.data.curation.learnt_scene_teacher import LearntSceneTeacher, embed_learnt_names
from lexiseg.data.labelled_dataset import LabelledDataset
from lexiseg.data.scenes.settings import WorldSettings
from lexiseg.data.scenes.teacher import SceneTeacher, SceneTeacherSettings, embed_scene_names
from lexiseg.data.teacher_features import TeacherFeatures
from lexiseg.inference.text_embeddings import embed_names
from lexiseg.methods.clip_to_seg.teacher import SegmenterTeacher, Teacher, TextSpace, shorten
from lexiseg.methods.conse.settings import ConSESettings
from lexiseg.methods.dense_similarity import DenseSimilarity
from lexiseg.models.checkpoint import fingerprint
from lexiseg.recipes.dense_similarity import VALUE_HEAD, build_dense_similarity
from lexiseg.recipes.mini import build_mini

#: Teachers that are no checkpoints: the made-up one of scenes, one that learnt from captions of scenes, and the embedded model.
SCENE_TEACHER, LEARNT_TEACHER, MINI = "scenes", "scenes-learnt", "mini"
#: Those that know whole synthetic scenes and nothing else.
SCENE_TEACHERS = (SCENE_TEACHER, LEARNT_TEACHER)
#: As a teacher mini goes without the names it learnt from masks: a student has masks of its own.
MINI_OF_NAMES = ConSESettings(head="none", smooth="none")


_RANGES = {
    "size": Range(least=1, most=1_000_000),
    "dimensions": Range(least=1, most=1_000_000),
}


@dataclass(frozen=True, kw_only=True)
class TeacherSettings:
    """Who teaches.

    Attributes:
        name: ``mini``, the hub id or folder of a CLIP or SigLIP checkpoint, or ``scenes``: the made-up teacher of
            synthetic scenes, which knows the truth; or ``scenes-learnt``, which has seen other scenes with their
            captions and nothing else.
        scenes: How good the made-up one is; of the learnt one the patch and the seed.
        size: Side of the squares that the teacher looks at; None for that of the student's.
        dimensions: Of a shorter space that all its vectors are projected to at random; None for its own. mini's
            has 1,010, which a small student's head would be slow in.
        prompts: Name of the prompt set for class names.
        remembers: Keep what it says of an image on disk, in half precision. Of use where the same squares come
            again: without random crops.
    """

    name: str = SCENE_TEACHER
    scenes: SceneTeacherSettings = field(default_factory=SceneTeacherSettings)
    size: int | None = None
    dimensions: int | None = None
    prompts: str = "single"
    remembers: bool = True

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, method="the teacher")


def open_teacher(settings: TeacherSettings) -> Teacher:
    """Load a teacher that looks at images.

    Raises:
        InputError: The made-up teacher of scenes looks at no image.
        MissingWeightsError: Its weights are not here.
        CheckpointError: They cannot be used.
    """
    if settings.name in SCENE_TEACHERS:
        raise InputError(
            doing=f"loading the teacher {settings.name!r}",
            found="images to look at",
            expected="whole synthetic scenes",
            fix="Use it with data.dataset = scenes and without data.crop, or give another teacher.",
        )
    is_mini = settings.name == MINI
    segmenter = build_mini(MINI_OF_NAMES) if is_mini else build_dense_similarity(settings.name, VALUE_HEAD)
    return SegmenterTeacher(
        segmenter,
        fingerprint(segmenter, settings.name, repr(dict(segmenter.method_settings))),
        size=settings.size,
        remembers=settings.remembers,
        dimensions=settings.dimensions,
    )


def open_text_space(settings: TeacherSettings, world: WorldSettings) -> TextSpace:
    """Load what gives names their vectors; nothing that looks at images is kept of a checkpoint.

    Raises:
        MissingWeightsError: The teacher's weights are not here.
        CheckpointError: They cannot be used.
    """
    if settings.name == SCENE_TEACHER:

        def of_scenes(names: Sequence[str], prompts: str) -> Float[Tensor, "S D"]:
            return torch.from_numpy(embed_scene_names(world, settings.scenes, names))

        return of_scenes
    if settings.name == LEARNT_TEACHER:

        def of_captions(names: Sequence[str], prompts: str) -> Float[Tensor, "S D"]:
            return torch.from_numpy(embed_learnt_names(world, settings.scenes.seed, names))

        return of_captions
    if settings.name == MINI:
        embed = build_mini(MINI_OF_NAMES).embed_texts
    else:
        segmenter = build_dense_similarity(settings.name, VALUE_HEAD)
        assert isinstance(segmenter, DenseSimilarity)
        embed = partial(embed_names, segmenter.text_encoder)

    def of_teacher(names: Sequence[str], prompts: str) -> Float[Tensor, "S D"]:
        return shorten(embed(names, prompts), settings.dimensions)

    return of_teacher


def open_features(
    settings: TeacherSettings, images: LabelledDataset, world: WorldSettings
) -> TeacherFeatures | None:
    """Return what a teacher of scenes says of them; None for a teacher that looks at batches.

    Args:
        settings: Who teaches.
        images: With all their labels: what the made-up teacher sees instead of pixels, and only that one.
        world: What scenes were made with.

    Raises:
        InputError: The settings do not fit the scenes.
    """
    if settings.name == LEARNT_TEACHER:
        scenes = settings.scenes
        return LearntSceneTeacher(images, world, patch=scenes.patch, seed=scenes.seed)
    return SceneTeacher(images, world, settings.scenes) if settings.name == SCENE_TEACHER else None
