"""The classes that scenes are made of: a shape and a texture each, and words for them."""

from dataclasses import dataclass
from typing import Final

#: Colour families (RGB). Several classes share one, so that a colour alone names nothing.
FAMILIES: Final = {
    "red": (205, 58, 52),
    "orange": (232, 138, 44),
    "yellow": (238, 206, 72),
    "green": (84, 160, 72),
    "teal": (48, 158, 158),
    "blue": (62, 104, 200),
    "purple": (142, 84, 182),
    "pink": (236, 132, 172),
    "brown": (140, 96, 62),
}

#: Patterns of things, in the order of ``textures.thing_mix``.
PATTERNS: Final = ("plain", "stripes", "dots", "checks", "rings", "halves", "grid", "fade")


@dataclass(frozen=True)
class Thing:
    """A class with a shape; its number in ``THINGS`` is the number of its shape in ``shapes.inside``.

    Attributes:
        name: The class name.
        synonym: Another word for it.
        pattern: One of ``PATTERNS``.
        family: One of ``FAMILIES``.
        tilt: Largest turn to either side as the sine of the angle; 2 turns it any way.
    """

    name: str
    synonym: str
    pattern: str
    family: str
    tilt: float


@dataclass(frozen=True)
class Stuff:
    """A class without a shape; its number in ``STUFFS`` is the number of its texture.

    Attributes:
        name: The class name.
        synonym: Another word for it.
        first: Colour (RGB) where the texture is 0.
        second: Colour where it is 1.
        height: Where it is found when the scene has a horizon: 0 low, 1 high.
    """

    name: str
    synonym: str
    first: tuple[int, int, int]
    second: tuple[int, int, int]
    height: float


#: The first so many are used. Things that look alike are far apart in the list.
THINGS: Final = (
    Thing("person", "human", "halves", "blue", 0.15),
    Thing("star", "asterisk", "plain", "yellow", 2.0),
    Thing("ring", "hoop", "stripes", "purple", 2.0),
    Thing("house", "cottage", "checks", "brown", 0.1),
    Thing("heart", "valentine", "dots", "pink", 0.4),
    Thing("fish", "trout", "stripes", "orange", 0.5),
    Thing("tree", "pine", "dots", "green", 0.12),
    Thing("cross", "plus", "plain", "red", 0.25),
    Thing("moon", "crescent", "fade", "yellow", 0.6),
    Thing("boat", "ship", "halves", "red", 0.2),
    Thing("flower", "blossom", "rings", "pink", 2.0),
    Thing("diamond", "rhombus", "checks", "blue", 0.2),
    Thing("mushroom", "toadstool", "dots", "red", 0.2),
    Thing("arrow", "pointer", "halves", "purple", 2.0),
    Thing("leaf", "frond", "stripes", "green", 2.0),
    Thing("cup", "mug", "stripes", "teal", 0.15),
    Thing("butterfly", "moth", "checks", "purple", 0.6),
    Thing("drop", "droplet", "fade", "teal", 0.3),
    Thing("gear", "cogwheel", "grid", "orange", 2.0),
    Thing("hourglass", "sandglass", "grid", "brown", 0.3),
    Thing("key", "latchkey", "plain", "orange", 2.0),
    Thing("circle", "disc", "dots", "blue", 2.0),
    Thing("triangle", "wedge", "rings", "green", 0.3),
    Thing("square", "box", "rings", "teal", 0.25),
)

#: The first so many are used.
STUFFS: Final = (
    Stuff("grass", "lawn", (62, 118, 44), (140, 186, 84), 0.2),
    Stuff("sky", "heavens", (112, 168, 226), (232, 240, 250), 1.0),
    Stuff("sand", "beach", (206, 176, 120), (240, 220, 172), 0.1),
    Stuff("water", "sea", (30, 92, 140), (96, 170, 196), 0.3),
    Stuff("brick", "masonry", (158, 74, 56), (216, 204, 190), 0.6),
    Stuff("wood", "planks", (120, 78, 42), (190, 140, 90), 0.4),
    Stuff("snow", "frost", (214, 224, 236), (252, 253, 255), 0.15),
    Stuff("gravel", "pebbles", (92, 88, 84), (190, 184, 176), 0.1),
    Stuff("carpet", "rug", (126, 42, 62), (196, 120, 116), 0.05),
    Stuff("marble", "alabaster", (226, 222, 214), (122, 124, 132), 0.5),
    Stuff("rock", "stone", (84, 74, 66), (164, 148, 130), 0.5),
    Stuff("night", "darkness", (14, 18, 48), (236, 232, 190), 0.95),
)
