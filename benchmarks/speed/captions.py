"""Images with captions: decode, crop and augment; read shards; check them. One core.

Images are 375 × 500 JPEGs of smooth noise at quality 90, some 60 KB each, in two shards of 250.
"""

import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter
from timing import Row, compare, print_rows, write_json
from webdataset import TarWriter, WebDataset

from lexiseg.data.augmentation.auto_augment import auto_augment
from lexiseg.data.augmentation.random_crop import RandomCropSettings, draw_crop
from lexiseg.data.augmentation.seeding import sample_rng
from lexiseg.data.captions.check import check_captions
from lexiseg.data.captions.decoding import decode_crop, decode_image
from lexiseg.data.captions.opening import open_caption_source, open_captions
from lexiseg.data.captions.tar_index import read_tar_index

SETTINGS = RandomCropSettings()
NUM_IMAGES = 500
BATCH = 50


def make_image(number: int, height: int = 375, width: int = 500) -> bytes:
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 12, width // 12, 3), dtype=np.uint8))
    fine = rng.normal(0, 12, (height, width, 3))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float64)
    image = Image.fromarray(np.clip(smooth + fine, 0, 255).astype(np.uint8))
    target = io.BytesIO()
    image.filter(ImageFilter.GaussianBlur(0.7)).save(target, "JPEG", quality=90)
    return target.getvalue()


def ours(data: bytes, number: int, augment: bool) -> np.ndarray:
    rng = sample_rng(0, 0, number)
    crop = decode_crop(data, lambda height, width: draw_crop(height, width, SETTINGS, rng), 224)
    return np.asarray(auto_augment(Image.fromarray(crop), rng)) if augment else crop


def plain_pillow(data: bytes, number: int, augment: bool) -> np.ndarray:
    """Do the same as people write it: open, convert, crop, resize, augment."""
    rng = sample_rng(0, 0, number)
    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGB")
    top, left, height, width = draw_crop(image.height, image.width, SETTINGS, rng)
    image = image.crop((left, top, left + width, top + height)).resize((224, 224), Image.Resampling.BILINEAR)
    return np.asarray(auto_augment(image, rng) if augment else image)


def all_images(
    function: Callable[[bytes, int, bool], np.ndarray], images: list[bytes], augment: bool
) -> Callable[[], None]:
    def run() -> None:
        for number, data in enumerate(images):
            function(data, number, augment)

    return run


def with_rate(rows: list[Row], count: int) -> list[Row]:
    for row in rows:
        row["per_second"] = round(1000 * count / row["median_ms"])
    return rows


def images_rows() -> list[Row]:
    rows = []
    for size in ((375, 500), (1200, 1600)):
        images = [make_image(number, *size) for number in range(40 if size[0] < 1000 else 8)]
        for augment in (False, True):
            functions = {
                "lexiseg": all_images(ours, images, augment),
                "plain Pillow": all_images(plain_pillow, images, augment),
            }
            what = f"JPEG {size[0]}×{size[1]} → crop 224" + (" + AutoAugment" if augment else "")
            rows += with_rate(compare(functions, repeats=7, what=what), len(images))
    return rows


def shard_rows(folder: Path) -> list[Row]:
    urls = [str(file) for file in sorted(folder.iterdir())]
    source = open_caption_source(folder)

    def in_order() -> None:
        for index in range(len(source)):
            source.read(index)

    def shuffled() -> None:
        for index in np.random.default_rng(0).permutation(len(source)).tolist():
            source.read(index)

    def webdataset(buffer: int) -> None:
        for sample in WebDataset(urls, shardshuffle=False).shuffle(buffer):
            sample["txt"].decode()

    reading = {
        "lexiseg, shuffled": shuffled,
        "lexiseg, in order": in_order,
        "webdataset, in order": lambda: webdataset(0),
        "webdataset, buffer of 200": lambda: webdataset(200),
    }
    rows = compare(reading, repeats=7, what="read records of shards in the page cache")
    data = open_captions(folder, batch_size=BATCH, invalid_log=folder.parent / "invalid_log")

    def batches() -> None:
        for _ in data.batches(start_step=0, stop_step=NUM_IMAGES // BATCH):
            pass

    def webdataset_batches() -> None:
        decoded = WebDataset(urls, shardshuffle=False).shuffle(200).decode("pil").to_tuple("jpg", "txt")
        for number, (image, _) in enumerate(decoded):
            rng = sample_rng(0, 0, number)
            top, left, height, width = draw_crop(image.height, image.width, SETTINGS, rng)
            part = image.crop((left, top, left + width, top + height))
            auto_augment(part.resize((224, 224), Image.Resampling.BILINEAR), rng)

    making = {"lexiseg": batches, "webdataset + Pillow": webdataset_batches}
    rows += compare(making, repeats=3, what="shards to augmented batches of 50")

    def whole() -> None:
        for index in range(len(source)):
            decode_image(source.read(index).image)  # type: ignore[union-attr]

    checking = {"captions check": lambda: check_captions(source, workers=1), "decode everything whole": whole}
    rows += compare(checking, repeats=3, what="check shards, one thread")
    indexing = {"index headers": lambda: [read_tar_index(Path(url)) for url in urls]}
    rows += compare(indexing, repeats=5, what="index shards")
    return with_rate(rows, NUM_IMAGES)


def corrupt_colours() -> list[Row]:
    """Time the share of AutoAugment alone, beside one of Pillow's own operations."""
    image = Image.fromarray(ours(make_image(0), 0, False))
    rng = np.random.default_rng(0)
    functions = {
        "auto_augment": lambda: auto_augment(image, rng),
        "one Color enhancement": lambda: ImageEnhance.Color(image).enhance(1.4),
    }
    return with_rate(compare(functions, repeats=15, what="AutoAugment 224×224"), 1)


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "shards"
        folder.mkdir()
        for shard in range(2):
            with TarWriter(str(folder / f"{shard}.tar"), mtime=0.0) as writer:
                for number in range(shard * NUM_IMAGES // 2, (shard + 1) * NUM_IMAGES // 2):
                    text = f"an image with the number {number}"
                    writer.write({"__key__": f"{number:06d}", "jpg": make_image(number), "txt": text})
        rows = images_rows() + corrupt_colours() + shard_rows(folder)
    print_rows(rows, "Images with captions, one core; ratio to the first of each group")
    write_json(Path(__file__).with_suffix(".json"), rows, ["torch", "numpy", "pillow", "webdataset"])


if __name__ == "__main__":
    main()
