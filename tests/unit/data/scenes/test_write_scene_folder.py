import dataclasses

import numpy as np
import pytest

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError, InputError
from lexiseg.data.folder import FolderDataset
from lexiseg.data.scenes import SceneSettings, draw_scene, scene_vocabulary
from lexiseg.data.scenes.draw import FIRST_EVALUATION_SEED
from lexiseg.data.scenes.settings import weak_shot_scenes
from lexiseg.data.scenes.write_folder import draw_sheet, write_scene_folder

SETTINGS = dataclasses.replace(weak_shot_scenes(), captions_per_scene=2, synonym_rate=0.5)


def test_a_folder_of_scenes_opens_as_what_was_drawn(tmp_path):
    assert write_scene_folder(SETTINGS, tmp_path / "out", num=10, num_val=3, seed=4) == 10
    dataset = FolderDataset(tmp_path / "out", labels="required")
    assert dataset.vocabulary == scene_vocabulary(SETTINGS)
    assert len(FolderDataset(tmp_path / "out", "train")) == 7
    for index, sample in enumerate(dataset):
        drawn = draw_scene(SETTINGS, 4 + (FIRST_EVALUATION_SEED if index >= 7 else 0), index)
        assert np.array_equal(sample.image, drawn.image)
        assert np.array_equal(sample.label_map, drawn.label_map)
        assert sample.tags == drawn.tags
        assert sample.captions == drawn.captions
        assert len(sample.captions) == 2


def test_unseen_classes_are_hidden_in_training_scenes_only(tmp_path):
    write_scene_folder(SETTINGS, tmp_path / "out", num=24, num_val=12, hide_unseen=True)
    labels = {}
    for split in ("train", "val"):
        dataset = FolderDataset(tmp_path / "out", split, labels="required")
        unseen = set(range(12)) - dataset.vocabulary.seen
        labels[split] = set(np.unique([sample.label_map for sample in dataset]).tolist())
        assert any(sample.tags & unseen for sample in dataset)
    assert labels["train"] == set(dataset.vocabulary.seen) | {IGNORE_INDEX}
    assert unseen <= labels["val"]


def test_absent_classes_are_in_no_training_scene(tmp_path):
    settings = dataclasses.replace(SETTINGS, unseen_in_training="absent", pairs=())
    write_scene_folder(settings, tmp_path / "out", num=30, num_val=15)
    unseen = set(range(12)) - scene_vocabulary(settings).seen
    assert not any(sample.tags & unseen for sample in FolderDataset(tmp_path / "out", "train"))
    assert any(sample.tags & unseen for sample in FolderDataset(tmp_path / "out", "val"))


def test_a_stopped_run_goes_on_where_it_was(tmp_path):
    out = tmp_path / "out"

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_scene_folder(SETTINGS, out, num=5, num_val=1, advance=stop)
    (out / "labels" / "scene-000000.png").unlink()
    assert write_scene_folder(SETTINGS, out, num=5, num_val=1) == 5
    assert write_scene_folder(SETTINGS, out, num=5, num_val=1) == 0
    assert len(FolderDataset(out)) == 5
    assert not list(out.rglob(".*"))


def test_a_folder_of_other_data_is_left_alone(tmp_path):
    out = tmp_path / "out"
    write_scene_folder(SETTINGS, out, num=4, num_val=1)
    for changes in ({"seed": 1}, {"num": 5}, {"hide_unseen": True}):
        with pytest.raises(DatasetError, match="scenes made with other settings, seed or numbers"):
            write_scene_folder(SETTINGS, out, **{"num": 4, "num_val": 1, **changes})
    (out / "scenes.json").write_text("{")
    with pytest.raises(DatasetError, match=r"found scenes.json, which cannot be read"):
        write_scene_folder(SETTINGS, out, num=4, num_val=1)
    (out / "scenes.json").unlink()
    with pytest.raises(DatasetError, match="found a folder that holds other files; expected no folder"):
        write_scene_folder(SETTINGS, out, num=4, num_val=1)


def test_numbers_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(InputError, match="found 4 scenes, 4 of them for validation"):
        write_scene_folder(SETTINGS, tmp_path, num=4, num_val=4)
    with pytest.raises(InputError, match="found no unseen class to hide"):
        write_scene_folder(SceneSettings(), tmp_path, num=4, num_val=1, hide_unseen=True)


def test_a_sheet_shows_image_and_labels_of_every_scene():
    samples = [draw_scene(SETTINGS, 0, index) for index in range(5)]
    sheet = draw_sheet(samples, scene_vocabulary(SETTINGS), columns=3)
    assert sheet.width == 3 * (2 * 192 + 4 + 24)
    pixels = np.asarray(sheet)
    assert np.array_equal(pixels[12 : 12 + 192 : 3, 12 : 12 + 192 : 3], samples[0].image)
