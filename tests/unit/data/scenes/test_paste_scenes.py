import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lexiseg.core.errors import DatasetError, InputError
from lexiseg.data.scenes import (
    PasteSettings,
    SceneDataset,
    draw_scene,
    scene_batch,
    scene_training_data,
    scene_vocabulary,
)

SHARED = Path(__file__).parents[4].parent / "shared" / "data"
COLOURS = {"cat": (250, 10, 10), "dog": (10, 250, 10), "hot_dog": (10, 10, 250), "rock": (250, 250, 10)}


def draw_cutout(colour, size=40):
    image = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((5, 5, size - 6, size - 6), fill=(*colour, 255))
    return image


@pytest.fixture
def folder(tmp_path):
    """Make discs of one colour each; two of the class dog."""
    path = tmp_path / "cutouts-of-mine"
    path.mkdir()
    for name, colour in COLOURS.items():
        if name == "dog":
            (path / "dog").mkdir()
            for number in range(2):
                draw_cutout(colour).save(path / "dog" / f"{number}.png")
        else:
            draw_cutout(colour).save(path / f"{name}.png")
    return path


def paste(folder, **changes):
    return PasteSettings(folder=folder, **{"noise": 0.0, "light_jitter": 0.0, **changes})


def refused(folder, *parts, **changes):
    with pytest.raises((DatasetError, InputError)) as caught:
        scene_vocabulary(paste(folder, **changes))
    for part in parts:
        assert part in str(caught.value)
    assert caught.value.fix


def test_classes_are_named_by_files_and_folders_and_stuffs_give_way(folder):
    vocabulary = scene_vocabulary(paste(folder, num_stuffs=11))
    assert vocabulary.names[:4] == ("cat", "dog", "hot dog", "rock")
    assert "rock" not in vocabulary.names[4:]
    assert len(vocabulary) == 15
    refused(folder, "num_stuffs = 12, and 1 stuffs whose names things have", "at most 11", num_stuffs=12)


def test_masks_are_where_the_artwork_covers_at_least_half(folder):
    settings = paste(folder, things_per_scene=(1, 1), min_pixels=1)
    bare = dataclasses.replace(settings, things_per_scene=(0, 0))
    for index in range(20):
        sample, without = draw_scene(settings, 0, index), draw_scene(bare, 0, index)
        (label,) = (label for label in sample.tags if label < 4)
        colour = np.array(list(COLOURS.values())[label], float)
        back, seen = without.image.astype(float), sample.image.astype(float)
        alpha = ((seen - back) * (colour - back)).sum(2) / ((colour - back) ** 2).sum(2)
        mask = sample.label_map == label
        assert (alpha[mask] > 0.47).all()
        assert (alpha[~mask] < 0.53).all()
        assert np.ptp(np.flatnonzero(mask.any(0))) + 1 <= 0.5 * 64 + 2


def test_batches_and_samples_agree(folder):
    settings = paste(folder)
    whole = scene_batch(settings, 1, 3, 0, 6, 6)
    part = scene_batch(settings, 1, 3, 4, 6, 6)
    assert (whole.images[4:] == part.images).all()
    assert np.array_equal(draw_scene(settings, 1, 22).image, whole.images[4].permute(1, 2, 0).numpy())


def test_held_out_names_never_occur_in_training_and_do_in_evaluation(folder):
    settings = paste(folder, unseen=("dog",), mention_rate=1.0)
    data = scene_training_data(settings, seed=0, batch_size=300, tags=True, label_maps=True)
    (batch,) = data.batches(start_step=0, stop_step=1)
    assert batch.tags.any(0).tolist()[:4] == [True, False, True, True]
    assert not (batch.label_maps == 1).any()
    assert not any(" dog" in text.replace("hot dog", "") for text in batch.captions)
    assert any(1 in sample.tags for sample in SceneDataset(settings, 30))
    assert scene_vocabulary(settings).seen == frozenset(range(10)) - {1}
    refused(folder, "the class 'bird' in unseen, which is not in these scenes", str(folder), unseen=("bird",))
    refused(
        folder, "all 2 classes unseen", names=("cat", "dog"), unseen=("cat", "dog"), things_per_scene=(1, 1)
    )
    refused(folder, "1 seen things for training scenes", "at least 3", names=("cat", "dog"), unseen=("dog",))


def test_a_share_of_names_is_held_out_whatever_the_others_are(folder):
    unseen = []
    for names in ((), ("cat", "dog", "rock", "hot dog")):
        settings = paste(folder, unseen_share=0.25, names=names)
        vocabulary = scene_vocabulary(settings)
        (label,) = set(range(len(vocabulary))) - vocabulary.seen
        unseen.append(vocabulary.names[label])
    assert unseen[0] == unseen[1]


def test_a_table_names_files_and_equal_names_are_one_class(folder, tmp_path):
    table = "file\tname\tkeywords\ncat.png\ttabby\tcat, kitten, Tabby\nrock.png\ttabby\thot dog\nhot_dog.png\thot dog\n"
    (folder / "names.tsv").write_text(table)
    settings = paste(folder, further_names=True, synonym_rate=0.5, num_stuffs=2, things_per_scene=(1, 2))
    vocabulary = scene_vocabulary(settings)
    assert vocabulary.names == ("tabby", "hot dog", "grass", "sky")
    assert vocabulary.synonyms[0] == ("cat", "kitten")  # not "hot dog", which is another class
    assert scene_vocabulary(dataclasses.replace(settings, synonym_rate=0.0)).synonyms[0] == ()


def test_a_folder_that_cannot_be_used_is_named_with_the_file(folder, tmp_path):
    refused(tmp_path / "nowhere", "nowhere: found no folder there")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "found no image", "NAME.png")
    (folder / "birds").mkdir()
    refused(folder, str(folder / "birds"), "found no image")
    (folder / "birds").rmdir()
    draw_cutout((1, 1, 1)).save(folder / "Hot dog.png")
    refused(folder, "two classes of the name", "Hot dog.png", "hot_dog.png", "ignoring case and spacing")
    (folder / "Hot dog.png").unlink()
    Image.new("RGB", (9, 9)).save(folder / "wall.png")
    refused(folder, str(folder / "wall.png"), "an image without transparency", "transparent")
    Image.new("RGBA", (9, 9), (0, 0, 0, 255)).save(folder / "wall.png")
    refused(folder, str(folder / "wall.png"), "an image without transparency")
    Image.new("RGBA", (9, 9), (0, 0, 0, 9)).save(folder / "wall.png")
    refused(folder, str(folder / "wall.png"), "nothing is visible")
    (folder / "wall.png").write_bytes((folder / "cat.png").read_bytes()[:60])
    refused(folder, str(folder / "wall.png"), "an image that cannot be read")
    assert "wall" not in scene_vocabulary(paste(folder, names=("cat", "dog", "rock"))).names
    refused(
        folder, "the name 'cow' and 1 more", f"names among the 5 of {folder}", names=("cow", "cat", "hen")
    )


def test_a_table_that_cannot_be_used_is_named_with_the_line(folder):
    (folder / "names.tsv").write_text("cat.png tabby\n")
    refused(folder, "no name in line 1 of names.tsv: 'cat.png tabby'", "file, tab, name")
    (folder / "names.tsv").write_text("cat.png\ttabby\nbird.png\tbird\n")
    refused(folder, f"no file {folder / 'bird.png'}, which line 2 of names.tsv names")


def test_the_fingerprint_follows_the_artwork(folder):
    def fingerprint():
        from lexiseg.data.scenes.world import world_of

        world_of.cache_clear()
        return scene_training_data(paste(folder), seed=0, batch_size=2).fingerprint()

    before = fingerprint()
    assert before == fingerprint()
    draw_cutout((90, 90, 90)).save(folder / "cat.png")
    assert fingerprint() != before


def test_tilt_is_a_sine_or_any(folder):
    assert paste(folder, tilt=2.0).tilt == 2
    with pytest.raises(InputError, match=r"found tilt = 1\.5; expected a number from 0\.0 to 1\.0"):
        paste(folder, tilt=1.5)


def test_real_artwork_is_pasted():
    emoji = SHARED / "emoji"
    if not emoji.is_dir():
        pytest.skip(f"no real cut-outs at {emoji}")
    settings = PasteSettings(folder=emoji, names=("dog face", "tractor", "hot dog", "key"), unseen=("key",))
    data = scene_training_data(settings, seed=0, batch_size=60, tags=True)
    (batch,) = data.batches(start_step=0, stop_step=1)
    assert batch.tags.any(0).tolist()[:4] == [True, True, True, False]
