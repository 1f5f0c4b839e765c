"""Combinations of networks that were published, with their figures, and what they cost on this machine.

Figures say what could be had, not what was measured here. Seconds are the multiplications of a photograph divided by the
rate at which this machine does them in a transformer block, measured when asked for.
"""

import statistics
import time
from dataclasses import dataclass, field

import torch
from torch import nn

from lexiseg.models.weight_facts import facts_of, strictness

_CLIP_B16 = "openai/clip-vit-base-patch16"
_README = "README of the method's repository"
_TABLE = "table 1 of a later paper that ran all under one protocol"


@dataclass(frozen=True, kw_only=True)
class Network:
    """A vision transformer, as far as its cost goes.

    Attributes:
        name: Hub id.
        megabytes: Size of its weights in float32, text encoder included.
        depth: Blocks.
        width: Of a token.
        num_global: Blocks whose attention is over all tokens; None for all.
        window_tokens: Tokens that the others attend to.
    """

    name: str
    megabytes: int
    depth: int
    width: int
    num_global: int | None = None
    window_tokens: int = 0

    @property
    def licence(self) -> str:
        """Return the licence of its weights."""
        return facts_of(self.name).licence

    def work(self, images: int, tokens: int) -> float:
        """Return floating-point operations of encoding images of so many tokens each, two a multiplication."""
        everywhere = self.depth if self.num_global is None else self.num_global
        seen = everywhere * tokens + (self.depth - everywhere) * self.window_tokens
        return float(images * tokens * self.width * (24 * self.depth * self.width + 4 * seen))


CLIP = Network(name=_CLIP_B16, megabytes=598, depth=12, width=768)
DINO = Network(name="facebook/dino-vitb16", megabytes=343, depth=12, width=768)
SAM = Network(
    name="facebook/sam-vit-base",
    megabytes=375,
    depth=12,
    width=768,
    num_global=4,
    window_tokens=196,
)
SAM3 = Network(
    name="facebook/sam3",
    megabytes=3440,
    depth=32,
    width=1024,
    num_global=4,
    window_tokens=576,
)


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One way of putting networks together.

    Attributes:
        command: What to give a command for it.
        passes: What a 4:3 photograph costs: a network, how many images it sees, and tokens in each.
        mean_iou: Published mean over eight sets (VOC21, Context60, COCO-Object, VOC20, Context59, COCO-Stuff, Cityscapes,
            ADE20K), in percent, without post-processing of borders; settings and class names differ between rows.
        source: Where that was read.
        published_with: What stood in the place of the parts there, where that was something else.
        a_name: Operations that every name costs beside; 0 for all that compare embeddings.
    """

    command: str
    passes: tuple[tuple[Network, int, int], ...]
    mean_iou: float
    source: str
    published_with: str = ""
    a_name: float = field(default=0, kw_only=True)

    @property
    def parts(self) -> tuple[Network, ...]:
        """Return the networks, each once."""
        return tuple(dict.fromkeys(network for network, _, _ in self.passes))

    @property
    def licence(self) -> str:
        """Return the licence of the part that has most conditions."""
        return max((part.licence for part in self.parts), key=strictness)

    @property
    def megabytes(self) -> int:
        """Return the size of all weights."""
        return sum(part.megabytes for part in self.parts)

    @property
    def work(self) -> float:
        """Return the operations of a photograph, names aside."""
        return sum((network.work(images, tokens) for network, images, tokens in self.passes), start=0.0)


_WHOLE = ((CLIP, 1, 28 * 37 + 1),)
#: Windows of 224 pixels every 112 in 336×448, and of 336 every 112.
_WINDOWS, _LARGE_WINDOWS = ((CLIP, 6, 197),), ((CLIP, 2, 442), (DINO, 2, 442))
#: SAM 3's detector for one name: six layers of an encoder and of a decoder, 256 wide, on 72×72 tokens.
_SAM3_NAME = Network(name="", megabytes=0, depth=12, width=256).work(1, 72 * 72)

COMBINATIONS = (
    *(
        Combination(
            command=f"--model {_CLIP_B16} --set head={head}", passes=passes, mean_iou=mean_iou, source=source
        )
        for head, passes, mean_iou, source in (
            ("maskclip", _WHOLE, 30.3, _TABLE),
            ("sclip", _WINDOWS, 38.2, _TABLE),
            ("clearclip", _WINDOWS, 38.1, "a later paper"),
            ("naclip", _WINDOWS, 39.4, _TABLE),
            ("scclip", _WINDOWS, 43.9, "the method's paper"),
        )
    ),
    Combination(
        command=f"--model {_CLIP_B16} --set head=proxyclip",
        passes=_LARGE_WINDOWS,
        mean_iou=42.3,
        source=_TABLE,
        published_with="DINO ViT-B/8",
    ),
    Combination(
        command=f"--model {_CLIP_B16} --set head=trident",
        passes=(*_LARGE_WINDOWS, (SAM, 1, 64 * 64)),
        mean_iou=45.8,
        source="a later paper",
    ),
    Combination(
        command=f"--model {_CLIP_B16} --set head=corrclip",
        passes=_LARGE_WINDOWS,
        mean_iou=50.4,
        source=_README,
        published_with="MetaCLIP ViT-B/16 (CC-BY-NC-4.0: not for commercial use), DINO ViT-B/8, SAM 2 at 8×8 points",
    ),
    Combination(
        command="--model facebook/sam3",
        passes=((SAM3, 1, 72 * 72),),
        mean_iou=57.5,
        source="README of ConceptBank, frozen, names only",
        a_name=_SAM3_NAME,
    ),
)

_BLOCK_TOKENS, _REPEATS = 2 * 197, 5


@torch.inference_mode()
def measure_rate() -> float:
    """Measure how many floating-point operations a second this machine does in a transformer block; takes about a second."""
    block = nn.TransformerEncoderLayer(
        CLIP.width, 12, 4 * CLIP.width, batch_first=True, norm_first=True
    ).eval()
    tokens = torch.zeros(2, _BLOCK_TOKENS // 2, CLIP.width)
    work = CLIP.work(2, _BLOCK_TOKENS // 2) / CLIP.depth
    block(tokens)
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        block(tokens)
        times.append(time.perf_counter() - start)
    return work / statistics.median(times)
