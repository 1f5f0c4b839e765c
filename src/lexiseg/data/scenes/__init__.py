"""Scenes: a small synthetic world, seeded and endless, with exact masks, class names, tags and captions.

``settings`` and ``paste_settings`` say what scenes are like, ``presets`` names some; ``draw`` makes
scenes, batches and training data of them, ``dataset`` scenes to evaluate on. docs/scenes.md shows pictures.
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
