"""The protocols of GroupViT and CoCu are what our own GroupViT follows, and only where it is set as theirs."""

import numpy as np
import pytest
from PIL import Image

from lexiseg.data.class_lists import packaged_vocabulary, rename
from lexiseg.data.folder import FolderDataset
from lexiseg.methods.groupvit.settings import GroupViTSettings, SegmentSettings
from lexiseg.scoring.published import PROTOCOLS, STEPS, find_protocol
from lexiseg.scoring.score import score
from lexiseg.scoring.store.counts import StoreCounter
from lexiseg.scoring.store.predict import predict_into
from lexiseg.scoring.store.store import PredictionStore
from tiny_groupvit import WORDS, make_groupvit


def folder(path, names: str) -> FolderDataset:
    """Make one wide image with the classes of a packaged list."""
    for name in ("images", "labels"):
        (path / name).mkdir(parents=True)
    (path / "classes.txt").write_text("\n".join(packaged_vocabulary(names).names) + "\n")
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    Image.fromarray(noise).save(path / "images/a.png")
    Image.fromarray(np.full((40, 60), 3, np.uint8)).save(path / "labels/a.png")
    return FolderDataset(path)


@pytest.mark.parametrize(
    ("segments", "changes", "differing"),
    [
        (SegmentSettings(), {}, ""),
        (SegmentSettings(kept_classes=10), {}, "+not_applied=image-top5"),
        (SegmentSettings(maps="hard"), {}, "+not_applied=group-pixels"),
        (SegmentSettings(), {"threshold": 0.5}, "+threshold=0.5"),
    ],
)
@pytest.mark.parametrize("name", ["groupvit-voc", "cocu-voc"])
def test_our_groupvit_follows_the_protocol_and_a_change_shows(name, tmp_path, segments, changes, differing):
    protocol = find_protocol(name)
    small = protocol.changed(short_side=32, window=32, window_stride=16)  # everything else as published
    data = folder(tmp_path / "data", "voc21")
    spoken = rename(data.vocabulary, protocol.names, protocol.classes)
    words = [*WORDS, *(name for names in spoken.all_names() for name in names)]
    model = make_groupvit(method=GroupViTSettings(segments=segments), words=words).eval()
    predict_into(model, data, tmp_path / "s", protocol=small, **changes)
    found = score(StoreCounter(PredictionStore(tmp_path / "s")), protocol)
    left = found.protocol.name
    for part in ("+short_side=32", "+window=32", "+window_stride=16"):
        assert part in left
        left = left.replace(part, "")
    assert left == f"{name}{differing}"


def test_the_keys_of_the_method_are_those_of_the_protocols():
    applies = set(make_groupvit().applies)
    assert applies <= set(STEPS)
    followed = {
        name for name, protocol in PROTOCOLS.items() if protocol.steps and set(protocol.steps) <= applies
    }
    sets = ("voc", "context", "coco", "cityscapes", "ade", "stuff")
    assert followed == {f"{who}-{data}" for who in ("groupvit", "cocu") for data in sets}


@pytest.mark.parametrize("data", ["imagenet-s50", "imagenet-s300"])
def test_large_images_are_not_reduced_first_and_the_protocol_says_so(data):
    left = set(PROTOCOLS[f"cocu-{data}"].steps) - set(make_groupvit().applies)
    assert left == {"reduced-megapixel"}


#: Section 6 of the specification: classes without background, and with it where a threshold makes it.
COCU_TABLES = {
    "voc": (20, 21), "context": (59, 60), "coco": (80, 81), "imagenet-s50": (50, 51), "imagenet-s300": (300, 301),
    "cityscapes": (19, 19), "ade": (150, 150), "stuff": (171, 171),
}  # fmt: skip


@pytest.mark.parametrize("data", COCU_TABLES)
@pytest.mark.parametrize("who", ["groupvit", "cocu"])
def test_class_tables_have_the_published_sizes_p12(who, data):
    protocol, (words, channels) = find_protocol(f"{who}-{data}"), COCU_TABLES[data]
    has_background = protocol.inference.get("background") == "threshold"
    assert has_background == (channels > words)
    assert protocol.num_classes == channels
    if protocol.classes:
        vocabulary = packaged_vocabulary(protocol.classes)
        assert len(vocabulary) == channels
        assert (
            len(vocabulary.without_background()) == words if has_background else vocabulary.background is None
        )
