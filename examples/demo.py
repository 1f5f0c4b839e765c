"""Segment four real photographs by words with the embedded model: what ``make demo`` runs.

The photographs come with scikit-image: Chelsea the cat (Stéfan van der Walt, CC0), coffee (Rachel
Michetti, CC0), a rocket on its pad (SpaceX, CC0) and the astronaut Eileen Collins (NASA, public domain).
Results go to ``demo/``; ``demo/sheet.png`` shows photographs and results side by side.
"""

from pathlib import Path

from PIL import Image
from skimage import data_dir

from lexiseg.cli import main

PHOTOGRAPHS = ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png")
WORDS = "cat, cup, spoon, wooden table, rocket, sky, person, flag, wall"
OUT = Path("demo")


def draw_sheet(height: int = 240) -> None:
    """Put each photograph over its result, all at the same height."""
    pairs = []
    for name in PHOTOGRAPHS:
        photograph = Image.open(Path(data_dir) / name).convert("RGB")
        overlay = Image.open(OUT / f"{Path(name).stem}.overlay.png")
        width = round(photograph.width * height / photograph.height)
        below = round(overlay.height * width / overlay.width)
        pairs.append((photograph.resize((width, height)), overlay.resize((width, below))))
    gap = 8
    total = sum(photograph.width + gap for photograph, _ in pairs) - gap
    tallest = max(overlay.height for _, overlay in pairs)
    sheet = Image.new("RGB", (total, height + gap + tallest), "white")
    left = 0
    for photograph, overlay in pairs:
        sheet.paste(photograph, (left, 0))
        sheet.paste(overlay, (left, height + gap))
        left += photograph.width + gap
    sheet.save(OUT / "sheet.png")


if __name__ == "__main__":
    paths = [str(Path(data_dir) / name) for name in PHOTOGRAPHS]
    try:
        main(["segment", *paths, "--words", WORDS, "--out", str(OUT), "--overwrite"])
    except SystemExit as stopped:
        if stopped.code:
            raise
    draw_sheet()
    print(f"side by side: {OUT / 'sheet.png'}")
