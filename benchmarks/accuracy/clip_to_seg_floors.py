"""Score what needs no distillation on the scenes of clip-to-seg/scenes: the teacher alone, and an untrained student.

    python benchmarks/accuracy/clip_to_seg_floors.py [--scenes 100]

Writes clip_to_seg_floors.json beside this file. The made-up teacher reads the truth with noise, so it is a ceiling here
and no competitor: what it shows is how much of its answer is noise. The learnt one has seen captions only.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from machine import machine  # noqa: E402

from lexiseg.engine.seeding import seed_all  # noqa: E402
from lexiseg.methods.clip_to_seg.teacher import unit_texts  # noqa: E402
from lexiseg.metrics.confusion import ConfusionMatrix  # noqa: E402
from lexiseg.metrics.iou import compute_scores  # noqa: E402
from lexiseg.ops.resize import resize_argmax  # noqa: E402
from lexiseg.recipes.clip_to_seg import ClipToSegRecipe, scenes  # noqa: E402
from lexiseg.recipes.teachers import (  # noqa: E402
    LEARNT_TEACHER,
    TeacherSettings,
    open_features,
    open_text_space,
)

SEEDS = (0, 1, 2)


def teacher_alone(recipe: ClipToSegRecipe, settings: TeacherSettings) -> dict[str, float]:
    """Give each pixel the class whose text is nearest to the teacher's dense features."""
    images = recipe.data.scored_images()
    assert images is not None
    teacher = open_features(settings, images, recipe.data.scenes)
    assert teacher is not None
    texts = unit_texts(
        open_text_space(settings, recipe.data.scenes), images.vocabulary.names, "single"
    ).numpy()
    confusion = ConfusionMatrix(len(images.vocabulary))
    for index, sample in enumerate(images):
        maps, _ = teacher.read(index, flipped=False)
        scores = torch.from_numpy(np.einsum("dhw,kd->khw", maps, texts).astype(np.float32))
        assert sample.label_map is not None
        confusion.update(sample.label_map, resize_argmax(scores, sample.label_map.shape).labels)
    scores_of = compute_scores(confusion, seen=images.vocabulary.seen)
    return {
        "harmonic_iou": float(scores_of.harmonic_iou or 0),
        "unseen_mean_iou": float(scores_of.unseen_mean_iou or 0),
        "seen_mean_iou": float(scores_of.seen_mean_iou or 0),
    }


def untrained(recipe: ClipToSegRecipe, seed: int) -> dict[str, float]:
    """Score a student with its first weights."""
    seed_all(seed, "weights")
    with torch.inference_mode():
        return recipe.evaluate(recipe.build_model().eval())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=scenes().data.num_scored_scenes)
    given = parser.parse_args()
    recipe = scenes()
    recipe = dataclasses.replace(
        recipe, data=dataclasses.replace(recipe.data, num_scored_scenes=given.scenes)
    )
    noises = {
        str(noise): dataclasses.replace(
            recipe.teacher, scenes=dataclasses.replace(recipe.teacher.scenes, noise=noise)
        )
        for noise in (0.0, 1.0, 1.2, 2.0)
    }
    learnt = dataclasses.replace(recipe.teacher, name=LEARNT_TEACHER)
    found = {
        "command": "python benchmarks/accuracy/clip_to_seg_floors.py",
        **machine(),
        "scenes": given.scenes,
        "teacher alone, by noise": {noise: teacher_alone(recipe, made) for noise, made in noises.items()},
        "learnt teacher alone": teacher_alone(recipe, learnt),
        "untrained student, by seed": {str(seed): untrained(recipe, seed) for seed in SEEDS},
    }
    (HERE / "clip_to_seg_floors.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
