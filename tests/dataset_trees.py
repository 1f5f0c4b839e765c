"""Build tiny copies of published data sets in their exact layouts, with every trap the real ones have.

A tree is made from known class indices (the truth); each writer states its layout's numbers by itself,
so that readers are not tested against their own tables.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lexiseg.data.imagenet_names import imagenet_classes

VOID = 65535
TRAIN, VAL = 2, 4
SIZES = [(7, 5), (6, 9), (1, 1), (8, 8), (5, 12), (3, 4)]  # odd, one pixel, wide

#: Official COCO ids without masks, from the labels file of COCO-Stuff.
MISSING_IDS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}
OFFICIAL_IDS = [i for i in range(1, 183) if i not in MISSING_IDS]
ADE_IDS = [3 * label + 5 for label in range(847)]  # made up: gaps, beyond 8 bits, not the order of labels
NAMES_459 = [f"thing {k}" for k in range(459)]


@dataclass
class Tree:
    """A copy: where it is, and the class indices of each image by split and stem."""

    path: Path
    truth: dict[str, dict[str, np.ndarray]]


def truth_of(num_classes: int, index: int, *, void: bool) -> np.ndarray:
    """Make the class indices of an image: the first, the last, some others, void; class 2 never occurs."""
    rng = np.random.default_rng(index)
    values = [0, 1, num_classes // 2, num_classes - 1] + ([VOID] if void else [])
    values = [value for value in values if value != 2]
    labels = rng.choice(values, SIZES[index % len(SIZES)]).astype(np.int64)
    flat = labels.reshape(-1)
    flat[: len(values)] = values[: flat.size]
    if index == 0 and void:
        flat[-3:] = VOID
    return labels.astype(np.uint16)


def make_tree(
    root: Path,
    num_classes: int,
    splits: dict[str, list[str]],
    place: Callable[[str, str], tuple[Path, Path]],
    write: Callable[[Path, np.ndarray, str], None],
    *,
    void: bool = True,
) -> Tree:
    """Write pictures and label files of all splits."""
    tree = Tree(root, {})
    index = 0
    for split, stems in splits.items():
        tree.truth[split] = {}
        for stem in stems:
            truth = truth_of(num_classes, index, void=void)
            image, label = place(split, stem)
            image.parent.mkdir(parents=True, exist_ok=True)
            label.parent.mkdir(parents=True, exist_ok=True)
            picture = np.random.default_rng(index + 50).integers(0, 256, (*truth.shape, 3), np.uint8)
            Image.fromarray(picture).save(image)
            write(label, truth, stem)
            tree.truth[split][stem] = truth
            index += 1
    return tree


def stems_of(pattern: str, first: str = "train", second: str = "val") -> dict[str, list[str]]:
    """Name two training images and four others."""
    names = [pattern.format(number) for number in range(TRAIN + VAL)]
    return {first: names[:TRAIN], second: names[TRAIN:]}


def write_lists(tree: Tree, folder: str, suffix: str = "") -> Tree:
    """Write a list a split."""
    (tree.path / folder).mkdir(parents=True, exist_ok=True)
    for split, stems in tree.truth.items():
        (tree.path / folder / f"{split}.txt").write_text("".join(f"{stem}{suffix}\n" for stem in stems))
    return tree


def save_grey(path: Path, values: np.ndarray) -> None:
    Image.fromarray(values.astype(np.uint8)).save(path)


def save_palette(path: Path, values: np.ndarray) -> None:
    from lexiseg.data.label_files import voc_colours

    picture = Image.fromarray(values.astype(np.uint8), mode="P")
    picture.putpalette(voc_colours().reshape(-1).tolist())
    picture.save(path)


def coded(labels: np.ndarray, shift: int, void: int) -> np.ndarray:
    """Add a shift to class indices and give void another number."""
    return np.where(labels == VOID, void, labels.astype(np.int64) + shift)


def looked_up(labels: np.ndarray, numbers: list[int], void: int) -> np.ndarray:
    """Replace class indices by numbers."""
    table = np.full(VOID + 1, void)
    table[: len(numbers)] = numbers
    return table[labels]


def voc(root: Path, *, background: bool) -> Tree:
    def write(path: Path, truth: np.ndarray, _stem: str) -> None:
        save_palette(
            path, coded(truth, 0, 255) if background else coded(truth, 1, 255 if truth.size % 2 else 0)
        )

    tree = make_tree(
        root, 21 if background else 20, stems_of("2007_{:06}"),
        lambda _split, stem: (root / f"JPEGImages/{stem}.jpg", root / f"SegmentationClass/{stem}.png"), write,
    )  # fmt: skip
    return write_lists(tree, "ImageSets/Segmentation")


def voc_aug(root: Path, form: str) -> Tree:
    from scipy.io import savemat

    def place(_split: str, stem: str) -> tuple[Path, Path]:
        mat = root / f"../VOCaug/dataset/cls/{stem}.mat"
        label = mat if form == "VOCaug" else root / f"SegmentationClassAug/{stem}.png"
        return root / f"JPEGImages/{stem}.jpg", label

    def write(path: Path, truth: np.ndarray, _stem: str) -> None:
        if form == "VOCaug":
            savemat(path, {"GTcls": {"Segmentation": truth.astype(np.uint8), "CategoriesPresent": [1]}})
        else:
            save_grey(path, coded(truth, 0, 255))

    tree = make_tree(root, 21, stems_of("2008_{:06}", "trainaug", "other"), place, write, void=False)
    return write_lists(tree, "ImageSets/Segmentation")


CONTEXT_59_IDS = [
    2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144, 158, 159,
    162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366, 368, 397,
    415, 416, 420, 424, 427, 440, 445, 454, 458,
]  # fmt: skip


def context(root: Path, form: str, *, scored: bool) -> Tree:
    from scipy.io import savemat

    num_classes = 60 if scored else 59
    original = [0, *CONTEXT_59_IDS] if scored else CONTEXT_59_IDS
    segments: dict[str, np.ndarray] = {}

    def place(split: str, stem: str) -> tuple[Path, Path]:
        image = root / f"JPEGImages/{stem}.jpg"
        match form:
            case "SegmentationClassContext":
                return image, root / f"SegmentationClassContext/{stem}.png"
            case "pcontext":
                return (
                    root / f"pcontext/{split}/image/{stem}.jpg",
                    root / f"pcontext/{split}/label/{stem}.png",
                )
            case "pc59":
                return image, root / f"annotations_detectron2/pc59_{split}/{stem}.png"
            case "mat":
                return image, root / f"trainval/{stem}.mat"
        return image, root / "trainval_merged.json"

    def write(path: Path, truth: np.ndarray, stem: str) -> None:
        match form:
            case "SegmentationClassContext":
                save_grey(path, coded(truth, 0, 255) if scored else coded(truth, 1, 0))
            case "pcontext" | "pc59":
                save_grey(path, np.where(truth == 0, 255, truth - 1.0) if scored else coded(truth, 0, 255))
            case "mat":
                # 7 is an id of none of the 59
                savemat(
                    path,
                    {
                        "LabelMap": looked_up(
                            np.where(truth == 0, VOID, truth) if scored else truth, original, 7
                        )
                    },
                )
            case "json":
                segments[stem] = looked_up(truth, original, 0)

    tree = make_tree(root, num_classes, stems_of("2008_{:06}"), place, write, void=not scored)
    if form == "json":
        (root / "trainval_merged.json").write_text(json.dumps(detail_json(segments)))
    return tree if form == "pcontext" else write_lists(tree, "ImageSets/SegmentationContext")


def detail_json(segments: dict[str, np.ndarray]) -> dict:
    """Write id maps as PASCAL in Detail does, with an early segment that later ones paint over."""
    from pycocotools import mask as coco_mask

    def entry(image_id: int, category: int, mask: np.ndarray) -> dict:
        run_lengths = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        return {
            "image_id": image_id,
            "category_id": int(category),
            "segmentation": {"size": run_lengths["size"], "counts": run_lengths["counts"].decode()},
        }

    images, annotations = [], []
    for number, (stem, ids) in enumerate(segments.items()):
        height, width = ids.shape
        images.append({"image_id": number, "file_name": f"{stem}.jpg", "height": height, "width": width})
        present = [value for value in np.unique(ids) if value]
        if present and (ids != 0).all():
            annotations.append(entry(number, present[-1], np.ones_like(ids)))
        annotations += [entry(number, value, ids == value) for value in present]
    return {"images": images, "annos_segmentation": annotations}


def context459(root: Path, form: str) -> Tree:
    from scipy.io import savemat

    def place(split: str, stem: str) -> tuple[Path, Path]:
        if form == "pcontext_full":
            below = root / "pcontext_full" / split
            return below / f"image/{stem}.jpg", below / f"label/{stem}.tif"
        label = (
            f"trainval/{stem}.mat" if form == "mat" else f"annotations_detectron2/pc459_{split}/{stem}.tif"
        )
        return root / f"JPEGImages/{stem}.jpg", root / label

    def write(path: Path, truth: np.ndarray, _stem: str) -> None:
        if form == "mat":
            savemat(path, {"LabelMap": coded(truth, 1, 0).astype(np.uint16)})
        else:
            Image.fromarray(truth).save(path)

    tree = make_tree(root, 459, stems_of("2008_{:06}"), place, write)
    folder = root / "pcontext_full" if form == "pcontext_full" else root
    (folder / "labels.txt").write_text("".join(f"{k + 1}: {name}\n" for k, name in enumerate(NAMES_459)))
    return tree if form == "pcontext_full" else write_lists(tree, "ImageSets/SegmentationContext")


def coco(root: Path, form: str, kind: str) -> Tree:
    """Build COCO; kind is stuff171, object80 or object81."""
    num_classes = int(kind[-3:] if kind == "stuff171" else kind[-2:])
    suffix = {"labelTrainIds": "_labelTrainIds", "instanceTrainIds": "_instanceTrainIds"}.get(form, "")

    def place(split: str, stem: str) -> tuple[Path, Path]:
        if form == "detectron2":
            return (
                root / f"{split}2017/{stem}.jpg",
                root / f"stuffthingmaps_detectron2/{split}2017/{stem}.png",
            )
        return root / f"images/{split}2017/{stem}.jpg", root / f"annotations/{split}2017/{stem}{suffix}.png"

    def write(path: Path, truth: np.ndarray, _stem: str) -> None:
        published = [i - 1 for i in OFFICIAL_IDS]
        if form == "published" and kind == "stuff171":
            save_grey(path, looked_up(truth, published, 255))
        elif form == "published":  # void and stuff take turns as what is no thing
            rest = 255 if truth.size % 2 else 180
            numbers = [rest, *published[:80]] if kind == "object81" else published[:80]
            save_grey(path, looked_up(truth, numbers, rest))
        elif form == "instanceTrainIds":
            save_grey(path, truth if kind == "object81" else coded(truth, 1, 0))
        else:
            save_grey(path, coded(truth, 0, 255))

    return make_tree(root, num_classes, stems_of("{:012}"), place, write, void=kind != "object81")


def stuff10k(root: Path, form: str) -> Tree:
    from scipy.io import savemat

    def place(split: str, stem: str) -> tuple[Path, Path]:
        match form:
            case "labelTrainIds":
                return (
                    root / f"images/{split}2014/{stem}.jpg",
                    root / f"annotations/{split}2014/{stem}_labelTrainIds.png",
                )
            case "detectron2":
                return (
                    root / f"images_detectron2/{split}/{stem}.jpg",
                    root / f"annotations_detectron2/{split}/{stem}.png",
                )
        return root / f"images/{stem}.jpg", root / f"annotations/{stem}.mat"

    def write(path: Path, truth: np.ndarray, _stem: str) -> None:
        match form:
            case "labelTrainIds":
                save_grey(path, coded(truth, 1, 0))
            case "detectron2":
                save_grey(path, coded(truth, 0, 255))
            case "mat-1.1":
                savemat(path, {"S": looked_up(truth, OFFICIAL_IDS, 0).astype(np.uint8), "names": names(182)})
            case "mat-1.0":
                savemat(path, {"S": coded(truth, 2, 1).astype(np.uint8), "names": names(172)})
            case "mat-1.0-hdf5":
                write_hdf5(path, coded(truth, 2, 1))

    tree = make_tree(root, 171, stems_of("COCO_train2014_{:012}", "train", "test"), place, write)
    return write_lists(tree, "imageLists") if form.startswith("mat") else tree


def names(count: int) -> np.ndarray:
    """Make a MATLAB cell of names."""
    return np.array([f"name {k}" for k in range(count)], dtype=object)


def write_hdf5(path: Path, values: np.ndarray) -> None:
    """Write a MATLAB 7.3 file: 512 bytes of text, then HDF5 with arrays transposed."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        file["S"] = values.astype(np.uint8).T
        file["names"] = np.zeros((1, 172))
    with path.open("r+b") as raw:
        raw.write(
            b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  2 00:00:00 2017 HDF5".ljust(512)
        )


def ade150(root: Path, form: str) -> Tree:
    folders = {"train": "training", "val": "validation"}

    def place(split: str, stem: str) -> tuple[Path, Path]:
        below = "annotations" if form == "annotations" else "annotations_detectron2"
        return root / f"images/{folders[split]}/{stem}.jpg", root / f"{below}/{folders[split]}/{stem}.png"

    def write(path: Path, truth: np.ndarray, _stem: str) -> None:
        save_grey(path, coded(truth, 1, 0) if form == "annotations" else coded(truth, 0, 255))

    return make_tree(root, 150, stems_of("ADE_{:08}"), place, write)


def ade847(root: Path, form: str) -> Tree:
    folders = {"train": "training", "val": "validation"}

    def place(split: str, stem: str) -> tuple[Path, Path]:
        folder = folders[split]
        if form == "release":
            below = root / "images/ADE" / folder
            return below / f"{stem}.jpg", below / f"{stem}_seg.png"
        below = f"{folder}/{stem}"
        return root / f"images_detectron2/{below}.jpg", root / f"annotations_detectron2/{below}.tif"

    def write(path: Path, truth: np.ndarray, _stem: str) -> None:
        if form == "detectron2":
            Image.fromarray(truth).save(path)
            return
        ids = looked_up(truth, ADE_IDS, 4)  # 4 is an id outside the 847
        instances = np.arange(truth.size).reshape(truth.shape) % 256
        Image.fromarray(np.stack([ids // 256 * 10, ids % 256, instances], -1).astype(np.uint8)).save(path)

    stems = stems_of("urban/street/ADE_{:08}" if form == "release" else "ADE_{:08}")
    tree = make_tree(root, 847, stems, place, write)
    lines = [f"{value}\tobject {label}, thing {label}" for label, value in enumerate(ADE_IDS)]
    lines[7] = f"{ADE_IDS[7]}\tobject 6, trapdoor"  # two senses under one name
    (root / "objects847.tsv").write_text("\n".join(lines) + "\n")
    return tree


CITY_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]


def cityscapes(root: Path, form: str) -> Tree:
    def place(split: str, stem: str) -> tuple[Path, Path]:
        return (
            root / f"leftImg8bit/{split}/{stem}_leftImg8bit.png",
            root / f"gtFine/{split}/{stem}_gtFine_{form}.png",
        )

    def write(path: Path, truth: np.ndarray, _stem: str) -> None:
        save_grey(path, coded(truth, 0, 255) if form == "labelTrainIds" else looked_up(truth, CITY_IDS, 4))

    return make_tree(root, 19, stems_of("ulm/ulm_{:06}_000019"), place, write)


def imagenet_s(root: Path, count: int, wnids: list[str]) -> Tree:
    def place(split: str, stem: str) -> tuple[Path, Path]:
        return root / f"{split}/{stem}.JPEG", root / f"{split}-segmentation/{stem}.png"

    def write(path: Path, truth: np.ndarray, _stem: str) -> None:
        ids = np.where(truth == VOID, 1000, truth)
        Image.fromarray(np.stack([ids % 256, ids // 256, 0 * ids], -1).astype(np.uint8)).save(path)

    stems = stems_of("%s/ILSVRC2012_val_{:08}" % wnids[0], "train-semi", "validation")  # noqa: UP031
    tree = make_tree(root, count + 1, stems, place, write)
    for wnid in wnids:
        (root / "validation" / wnid).mkdir(exist_ok=True)
    return tree


WNIDS = sorted(entry.wnid for entry in imagenet_classes())

#: Every form of every data set, and how to build it.
LAYOUTS: dict[tuple[str, str], Callable[[Path], Tree]] = {
    ("voc21", "SegmentationClass"): lambda root: voc(root, background=True),
    ("voc20", "SegmentationClass"): lambda root: voc(root, background=False),
    ("voc21", "SegmentationClassAug"): lambda root: voc_aug(root, "SegmentationClassAug"),
    ("voc21", "VOCaug"): lambda root: voc_aug(root, "VOCaug"),
    ("context59", "SegmentationClassContext"): lambda root: context(
        root, "SegmentationClassContext", scored=False
    ),
    ("context59", "pcontext"): lambda root: context(root, "pcontext", scored=False),
    ("context59", "pc59"): lambda root: context(root, "pc59", scored=False),
    ("context59", "json"): lambda root: context(root, "json", scored=False),
    ("context59", "mat"): lambda root: context(root, "mat", scored=False),
    ("context60", "SegmentationClassContext"): lambda root: context(
        root, "SegmentationClassContext", scored=True
    ),
    ("context60", "pcontext"): lambda root: context(root, "pcontext", scored=True),
    ("context60", "pc59"): lambda root: context(root, "pc59", scored=True),
    ("context60", "json"): lambda root: context(root, "json", scored=True),
    ("context60", "mat"): lambda root: context(root, "mat", scored=True),
    ("context459", "pcontext_full"): lambda root: context459(root, "pcontext_full"),
    ("context459", "pc459"): lambda root: context459(root, "pc459"),
    ("context459", "mat"): lambda root: context459(root, "mat"),
    ("coco-stuff164k", "published"): lambda root: coco(root, "published", "stuff171"),
    ("coco-stuff164k", "labelTrainIds"): lambda root: coco(root, "labelTrainIds", "stuff171"),
    ("coco-stuff164k", "detectron2"): lambda root: coco(root, "detectron2", "stuff171"),
    ("coco-object81", "published"): lambda root: coco(root, "published", "object81"),
    ("coco-object81", "instanceTrainIds"): lambda root: coco(root, "instanceTrainIds", "object81"),
    ("coco-object80", "published"): lambda root: coco(root, "published", "object80"),
    ("coco-object80", "instanceTrainIds"): lambda root: coco(root, "instanceTrainIds", "object80"),
    ("coco-stuff10k", "labelTrainIds"): lambda root: stuff10k(root, "labelTrainIds"),
    ("coco-stuff10k", "detectron2"): lambda root: stuff10k(root, "detectron2"),
    ("coco-stuff10k", "mat-1.1"): lambda root: stuff10k(root, "mat-1.1"),
    ("coco-stuff10k", "mat-1.0"): lambda root: stuff10k(root, "mat-1.0"),
    ("ade20k-150", "annotations"): lambda root: ade150(root, "annotations"),
    ("ade20k-150", "detectron2"): lambda root: ade150(root, "detectron2"),
    ("ade20k-847", "detectron2"): lambda root: ade847(root, "detectron2"),
    ("ade20k-847", "release"): lambda root: ade847(root, "release"),
    ("cityscapes19", "labelTrainIds"): lambda root: cityscapes(root, "labelTrainIds"),
    ("cityscapes19", "labelIds"): lambda root: cityscapes(root, "labelIds"),
    ("imagenet-s50", "red-green"): lambda root: imagenet_s(root, 50, WNIDS[:50]),
    ("imagenet-s300", "red-green"): lambda root: imagenet_s(root, 300, WNIDS[:300]),
    ("imagenet-s919", "red-green"): lambda root: imagenet_s(root, 919, WNIDS[:919]),
}
