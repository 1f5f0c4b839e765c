"""Scenes: a small synthetic world, seeded and endless, with exact masks, class names, tags and captions.

``settings`` says what scenes are like and names some presets; ``draw`` makes scenes, batches, training data and
data sets to evaluate on. docs/scenes.md shows some.
"""

from lexiseg.data.scenes.draw import (
    SceneDataset,
    draw_scene,
    scene_batch,
    scene_training_data,
    scene_vocabulary,
)
from lexiseg.data.scenes.settings import PasteSettings, SceneSettings, WorldSettings

__all__ = [
    "PasteSettings",
    "SceneDataset",
    "SceneSettings",
    "WorldSettings",
    "draw_scene",
    "scene_batch",
    "scene_training_data",
    "scene_vocabulary",
]
