"""Segment six real photographs by everyday words with the embedded model: what ``make demo`` runs.

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
    results: list[lexiseg.Segmentation], height: int = 250, gap: int = 12, per_row: int = 3
) -> Image.Image:
    """Put each photograph and its words over its result, all photographs at the same height."""
    font = ImageFont.load_default(size=17)
    tiles = []
    for result in results:
        photograph = Image.fromarray(result.image)
        overlay = result.overlay()
        width = round(photograph.width * height / photograph.height)
        tile = Image.new("RGB", (width, height * 2 + 70), "white")
        tile.paste(photograph.resize((width, height)), (0, 0))
        words = '"' + ", ".join(result.vocabulary.names) + '"'
        ImageDraw.Draw(tile).text((2, height + 5), words, fill="black", font=font)
        tile.paste(overlay.resize((width, round(overlay.height * width / overlay.width))), (0, height + 34))
        tiles.append(tile)
    rows = [tiles[start : start + per_row] for start in range(0, len(tiles), per_row)]
    widths = [sum(tile.width + gap for tile in row) - gap for row in rows]
    sheet = Image.new("RGB", (max(widths), sum(row[0].height + gap for row in rows) - gap), "white")
    top = 0
    for row in rows:
        left = 0
        for tile in row:
            sheet.paste(tile, (left, top))
            left += tile.width + gap
        top += row[0].height + gap
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
