"""Draw batches of scenes: images alone, with masks and tags, with captions; shapes and pasted cut-outs.

    python benchmarks/speed/scenes.py

One thread. The cut-outs are discs made here, so that the numbers need no other data.
"""

import tempfile
from functools import partial
from pathlib import Path

from PIL import Image, ImageDraw
from timing import Row, compare, print_rows, write_json

from lexiseg.data.scenes import PasteSettings, SceneSettings, WorldSettings, scene_batch
from lexiseg.data.scenes.class_table import FAMILIES

BATCH = 128


def draw_cutouts(folder: Path) -> None:
    for name, colour in FAMILIES.items():
        image = Image.new("RGBA", (256, 256), (0, 0, 0, 0))
        ImageDraw.Draw(image).ellipse((8, 8, 247, 247), fill=(*colour, 255))
        image.save(folder / f"{name}.png")


def main() -> None:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        draw_cutouts(Path(name))
        worlds: dict[str, WorldSettings] = {
            f"{kind}, {size} px": settings
            for size in (64, 128)
            for kind, settings in (
                ("shapes", SceneSettings(size=size, num_things=24, num_stuffs=12)),
                ("cut-outs", PasteSettings(size=size, num_stuffs=12, folder=Path(name))),
            )
        }
        for world, settings in worlds.items():
            draw = partial(scene_batch, settings, 0, 0, 0, BATCH, BATCH)
            functions = {
                "images, masks, tags, captions": draw,
                "images, masks, tags": partial(draw, captions=False),
                "images alone": partial(draw, captions=False, label_maps=False, tags=False),
            }
            rows += [
                {**row, "scenes_per_s": round(BATCH / row["median_ms"] * 1000)}
                for row in compare(functions, repeats=9, input=world)
            ]
    print_rows(rows, f"Batches of {BATCH} scenes, one thread; ratio to the whole batch")
    write_json(Path(__file__).with_suffix(".json"), rows, ["numpy", "numba", "torch"], batch=BATCH)


if __name__ == "__main__":
    main()
