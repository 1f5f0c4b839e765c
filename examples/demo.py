"""Segment six real photographs by everyday words with the embedded model: ``make demo``.

Two come with scikit-image: Chelsea the cat (Stéfan van der Walt, CC0) and coffee (Rachel Michetti, CC0); four lie beside
this file, with their authors and licences (``photographs/ATTRIBUTION.md``). None of them was trained on. Photographs and
words are ones that the model gets about right: what it gets wrong, and how often, is in benchmarks/accuracy/mini.md.
Results go to ``demo/``; ``demo/sheet.jpg`` shows photographs and results side by side.
"""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from rich.console import Console

import lexiseg
from lexiseg.cli.segment import print_shares

OWN = Path(__file__).parent / "photographs"
WORDS = {
    "chelsea.png": "cat, background",
    "coffee.png": "cup, table",
    "temple.jpg": "temple, sky, tree",
    "mountains.jpg": "rock, sky, grass",
    "dogs.jpg": "dog, wall",
    "sunset.jpg": "sky, mountain, grass",
}
OUT = Path("demo")


def draw_sheet(
    results: list[lexiseg.Segmentation], width: int = 1150, gap: int = 12, per_row: int = 3
) -> Image.Image:
    """Put each photograph and its words over its result; the photographs of a row are equally high and fill it."""
    font = ImageFont.load_default(size=17)
    rows = []
    for start in range(0, len(results), per_row):
        tiles = [
            (Image.fromarray(result.image), result.overlay(), ", ".join(result.vocabulary.names))
            for result in results[start : start + per_row]
        ]
        aspects = sum(photograph.width / photograph.height for photograph, _, _ in tiles)
        height = round((width - gap * (len(tiles) - 1)) / aspects)
        row = Image.new("RGB", (width, height * 2 + 80), "white")
        left = 0
        for photograph, overlay, words in tiles:
            across = round(photograph.width * height / photograph.height)
            row.paste(photograph.resize((across, height)), (left, 0))
            ImageDraw.Draw(row).text((left + 2, height + 5), f'"{words}"', fill="black", font=font)
            row.paste(
                overlay.resize((across, round(overlay.height * across / overlay.width))), (left, height + 34)
            )
            left += across + gap
        rows.append(row)
    sheet = Image.new("RGB", (width, sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def main() -> None:
    """Segment, print, save."""
    import skimage

    model = lexiseg.load("mini")
    console = Console()
    console.print(f"note: {model.notice}\n", highlight=False)
    results = []
    for name, words in WORDS.items():
        own = OWN / name
        photograph = own if own.exists() else Path(skimage.data_dir) / name
        result = model.segment(photograph, words)
        result.save(OUT)
        print_shares(console, result, Path(name))
        results.append(result)
    draw_sheet(results).save(OUT / "sheet.jpg", quality=90)
    console.print(
        f"label maps, overlays and JSON are in {OUT}/; side by side: {OUT / 'sheet.jpg'}", highlight=False
    )


if __name__ == "__main__":
    main()
