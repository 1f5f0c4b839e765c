"""Fonts for names in any script: from installed packages first, then from the system.

The packages of the extra ``fonts`` hold Noto unmodified (SIL Open Font License); matplotlib's DejaVu, where it is
installed, has Latin, Greek and Cyrillic. Both are found on disk and never imported. Pillow's own font, which is
all that is sure to be there, has hardly a letter outside ASCII.
"""

import importlib.util
import shutil
import subprocess
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TypeAlias

from PIL import ImageDraw, ImageFont

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

#: Package, and font files in it in the order in which they are tried.
_PACKAGED = (
    ("manimgx_fonts", "NotoSans[[]wght].ttf"),
    ("matplotlib", "mpl-data/fonts/ttf/DejaVuSans.ttf"),
    ("manimgx_fonts", "NotoSans[!-[]*.ttf"),
    ("manimgx_fonts_cjk", "NotoSansCJK*.ttc"),
    ("manimgx_fonts", "NotoEmoji*.ttf"),
)
#: Fonts of many scripts that come with Windows and macOS, where fontconfig is rare.
_OF_SYSTEMS = (
    "/System/Library/Fonts/Supplemental/Arial Unicode.ttf",
    "C:/Windows/Fonts/segoeui.ttf",
    "C:/Windows/Fonts/msyh.ttc",
    "C:/Windows/Fonts/malgun.ttf",
    "C:/Windows/Fonts/Nirmala.ttc",
    "C:/Windows/Fonts/Nirmala.ttf",
)
_REGULAR_WEIGHT = 400
#: Numbers of the languages in Noto's CJK collection; Chinese is simplified.
_JAPANESE, _KOREAN, _CHINESE = 0, 1, 2
_UNASSIGNED = "\U0010fffe"


@dataclass(frozen=True)
class Face:
    """A font file, and which font of a collection."""

    path: Path
    index: int = 0


@lru_cache(maxsize=64)
def open_face(face: Face, size: int) -> ImageFont.FreeTypeFont:
    """Open a font at a size in pixels, a variable one at regular weight."""
    font = ImageFont.truetype(face.path, size, index=face.index)
    try:
        axes = font.get_variation_axes()
    except (OSError, NotImplementedError):
        return font
    values = [axis["default"] or 0 for axis in axes]
    for place, axis in enumerate(axes):
        if axis["name"] in (b"Weight", "Weight"):
            values[place] = min(
                max(_REGULAR_WEIGHT, axis["minimum"] or 0), axis["maximum"] or _REGULAR_WEIGHT
            )
    font.set_variation_by_axes([float(value) for value in values])
    return font


@lru_cache(maxsize=16)
def _usual(size: int) -> Font:
    return ImageFont.load_default(size=size)


def text_runs(text: str, size: int) -> list[tuple[Font, str]] | None:
    """Divide a text into pieces that one font each can draw.

    Args:
        text: One line, in any scripts.
        size: In pixels.

    Returns:
        Font and piece, from left to right; None where no font has one of the letters.
    """
    if text.isascii():
        return [(_usual(size), text)]
    index = _collection_index(text)
    runs: list[tuple[Face, str]] = []
    for letter in text:
        face = _face_of(letter, index)
        stays = runs and (_is_neutral(letter) or has_glyph(runs[-1][0], letter))
        if stays:
            runs[-1] = runs[-1][0], runs[-1][1] + letter
        elif face is not None:
            runs.append((face, letter))
        elif not _is_neutral(letter):
            return None
    return [(open_face(face, size), piece) for face, piece in runs]


def text_length(text: str, size: int) -> float:
    """Return the width in pixels that ``draw_text`` takes."""
    return sum(font.getlength(piece) for font, piece in _runs_or_romanised(text, size))


def draw_text(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    text: str,
    *,
    size: int,
    fill: str | tuple[int, int, int],
) -> None:
    """Draw a line of text in any scripts; of letters that no font has, what ASCII has of them.

    Args:
        draw: Where.
        corner: Left and top of the line, as for Pillow's own font: other fonts share its baseline.
        text: One line.
        size: In pixels.
        fill: Its colour.
    """
    draw_runs(draw, corner, _runs_or_romanised(text, size), size=size, fill=fill)


def draw_runs(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    runs: Sequence[tuple[Font, str]],
    *,
    size: int,
    fill: str | tuple[int, int, int],
) -> None:
    """Draw what ``text_runs`` gave, as ``draw_text`` does."""
    left, top = corner
    if len(runs) == 1 and runs[0][1].isascii():
        draw.text((left, top), runs[0][1], fill=fill, font=runs[0][0])
        return
    usual = _usual(size)
    baseline = top + (usual.getmetrics()[0] if isinstance(usual, ImageFont.FreeTypeFont) else size)
    advance = 0.0
    for font, piece in runs:
        draw.text((left + advance, baseline), piece, fill=fill, font=font, anchor="ls")
        advance += font.getlength(piece)


def _runs_or_romanised(text: str, size: int) -> list[tuple[Font, str]]:
    runs = text_runs(text, size)
    return runs if runs is not None else text_runs(romanised(text) or "?", size) or []


def romanised(text: str) -> str:
    """Return what of a text ASCII has: letters without their accents; empty where that is nothing."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return " ".join(plain.split())


@lru_cache(maxsize=4096)
def has_glyph(face: Face, letter: str) -> bool:
    """Return whether a font draws a letter as something else than its sign for unknown letters."""
    font = _probe(face)
    if font is None:
        return False
    drawn, unknown = font.getmask(letter), font.getmask(_UNASSIGNED)
    return drawn.size != unknown.size or bytes(drawn) != bytes(unknown)


@lru_cache(maxsize=64)
def _probe(face: Face) -> ImageFont.FreeTypeFont | None:
    """Open a font to look at single letters; None for a damaged one, or of a format that FreeType was built without."""
    try:
        return ImageFont.truetype(face.path, 24, index=face.index, layout_engine=ImageFont.Layout.BASIC)
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=4096)
def _face_of(letter: str, index: int) -> Face | None:
    if _is_neutral(letter):
        return None
    faces = [Face(face.path, index) if face.path.suffix == ".ttc" else face for face in packaged_faces()]
    found = next((face for face in faces if has_glyph(face, letter)), None)
    return found or next((face for face in _system_faces(letter) if has_glyph(face, letter)), None)


@cache
def packaged_faces() -> tuple[Face, ...]:
    """Find the font files of installed packages, the widest first, without importing any."""
    files: list[Path] = []
    for package, pattern in _PACKAGED:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            files += sorted(Path(folder).glob(pattern))
    return tuple(Face(file) for file in files)


def _system_faces(letter: str) -> list[Face]:
    """Ask fontconfig which fonts of the system have a letter; also the usual ones of other systems."""
    files = [Path(file) for file in _OF_SYSTEMS if Path(file).is_file()]
    if program := shutil.which("fc-list"):
        query = [program, "--format", "%{index} %{file}\n", f":charset={ord(letter):x}:slant=0:weight=80"]
        try:
            done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.SubprocessError):
            return [Face(file) for file in files]
        lines = [line.partition(" ") for line in sorted(done.stdout.splitlines(), key=_sans_first)]
        found = [
            Face(Path(file), int(index) & 0xFFFF)
            for index, _, file in lines
            if index.isdecimal() and file.endswith((".ttf", ".otf", ".ttc"))
        ]
        return [*found, *map(Face, files)]
    return [Face(file) for file in files]


def _sans_first(line: str) -> tuple[bool, bool, int, str]:
    name = line.rpartition("/")[2].lower()
    return "sans" not in name, "mono" in name or "condensed" in name, len(name), line


def _collection_index(text: str) -> int:
    names = {unicodedata.name(letter, "").partition(" ")[0] for letter in text}
    if names & {"HIRAGANA", "KATAKANA"}:
        return _JAPANESE
    return _KOREAN if "HANGUL" in names else _CHINESE


def _is_neutral(letter: str) -> bool:
    """Return whether a letter has no script of its own: spaces, marks on letters before it, joiners."""
    return letter.isspace() or unicodedata.category(letter) in ("Mn", "Me", "Mc", "Cf")
