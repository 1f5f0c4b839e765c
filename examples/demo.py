"""Segment four real photographs by words with the embedded model: what ``make demo`` runs.

The photographs come with scikit-image: Chelsea the cat (Stéfan van der Walt, CC0), a rocket on its pad
(SpaceX, public domain), coffee (Rachel Michetti, CC0) and the astronaut Eileen Collins (NASA, public
domain). Results go to ``demo/``; ``demo/sheet.jpg`` shows photographs and results side by side.
"""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from rich.console import Console

import lexiseg
from lexiseg.cli.segment import print_shares

WORDS = {
    "chelsea.png": "cat, background",
    "rocket.jpg": "rocket, sky, tower",
    "coffee.png": "cup, wall",
    "astronaut.png": "person, rocket, wall",
}
OUT = Path("demo")


def draw_sheet(results: list[lexiseg.Segmentation], height: int = 300, gap: int = 10) -> Image.Image:
    """Put each photograph and its words over its result, all at the same height."""
    font = ImageFont.load_default(size=17)
    columns = []
    for result in results:
        photograph = Image.fromarray(result.image)
        overlay = result.overlay()
        width = round(photograph.width * height / photograph.height)
        column = Image.new("RGB", (width, height * 2 + 90), "white")
        column.paste(photograph.resize((width, height)), (0, 0))
        words = '"' + ", ".join(result.vocabulary.names) + '"'
        ImageDraw.Draw(column).text((2, height + 5), words, fill="black", font=font)
        column.paste(overlay.resize((width, round(overlay.height * width / overlay.width))), (0, height + 34))
        columns.append(column)
    sheet = Image.new("RGB", (sum(c.width + gap for c in columns) - gap, columns[0].height), "white")
    left = 0
    for column in columns:
        sheet.paste(column, (left, 0))
        left += column.width + gap
    return sheet


def main() -> None:
    """Segment, print, save."""
    import skimage

    model = lexiseg.load("mini")
    console = Console()
    console.print(f"note: {model.notice}\n", highlight=False)
    results = []
    for name, words in WORDS.items():
        photograph = Path(skimage.data_dir) / name
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
