"""Train the head of known names that mini ships, from photographs under CC BY and their masks.

    python benchmarks/accuracy/mini_head.py --data ../shared/data

writes the file, ATTRIBUTION beside it, and says whether it is the one that is shipped. ``--data`` names the folder that
holds coco-free, coco-free-2 and coco-things-free. What the head is worth: ``mini_gates.py``.

* **Training.** Closed-form ridge regression from a patch's features (``models.name_head``) to the share of its
  pixels that has each name; all photographs count alike. Nothing is random but the split of names below.
* **Calibration.** The names are split into four parts (seed 0). For each, a head is trained on coco-things-free without
  the part's names; on coco-free and coco-free-2 its posterior has to say "none" where one of them is. Temperature and the
  score of "none" are those of a small grid with the highest likelihood; mean IoU is never looked at.

The numbers are rounded to half precision, so that other processors, whose sums differ in the last bits, give the
same file or one that differs in a few last places.
"""

import argparse
import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))


from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.features import PatchFeatures
from lexiseg.data.images import load_image
from lexiseg.data.label_files import read_label_map
from lexiseg.data.trained_on import content_fingerprint
from lexiseg.inference.encode import encode_images
from lexiseg.inference.segmenter import Segmenter
from lexiseg.methods.conse.segmenter import ConSE
from lexiseg.methods.conse.settings import ConSESettings
from lexiseg.models.name_head import NameHead, NetworkMaps, pack_name_head, patch_features
from lexiseg.ops.ridge import solve_ridge
from lexiseg.recipes.mini import HEAD, build_mini

#: Ridge penalty; the features' lengths are fixed by ``models.name_head``.
PENALTY = 1000.0
NAME_PARTS = 4
#: The first of coco-free's names are things of COCO, the others its stuff.
NUM_THINGS = 76
TEMPERATURES = (0.05, 0.07, 0.085, 0.1, 0.12, 0.15)
NONE_SCORES = (0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6)

TRAINED = ("coco-free", "coco-free-2", "coco-things-free")
#: Licences in ATTRIBUTION.tsv; the stricter choice takes photographs of the first alone.
BY, FREE = (
    "Attribution License",
    ("Attribution License", "Attribution-ShareAlike License", "No known copyright"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Photograph:
    """One photograph as the regression sees it.

    Attributes:
        data_set: Folder it is in.
        path: Its file.
        attribution: Its line of ATTRIBUTION.tsv.
        label_map: Index of a known name a pixel; 65535 = void.
        features: Of each patch.
        shares: Share of each patch's pixels that has each name.
    """

    data_set: str
    path: Path
    attribution: str
    label_map: np.ndarray
    features: Tensor
    shares: Tensor

    @property
    def licence(self) -> str:
        """Name of the photograph's licence."""
        return self.attribution.split("\t")[1]

    def sums(self, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return summed ``x xᵀ`` and ``x yᵀ``; of the patches' pixels with names in ``keep`` alone, if given."""
        shares = self.shares if keep is None else self.shares * keep
        weight = shares.sum(dim=1)
        used = weight > 0
        features = self.features[used]
        return (features * weight[used, None]).T @ features, features.T @ shares[used]


Describe = Callable[[Path], tuple[Tensor, tuple[int, int]]]


def read(
    data: Path,
    names: Sequence[str],
    licences: tuple[str, ...],
    see: Describe,
    data_sets: Sequence[str] = TRAINED,
) -> list[Photograph]:
    """Read the photographs with one of these licences, their masks by the known names, and their features by ``see``."""
    photographs = []
    for data_set in data_sets:
        folder = data / data_set
        lines = (folder / "ATTRIBUTION.tsv").read_text().splitlines()
        attribution = {line.split("\t")[0]: line for line in lines}
        classes = (folder / "classes.txt").read_text().splitlines()
        table = np.full(65536, IGNORE_INDEX, np.uint16)
        for label, name in enumerate(classes):
            name = name.split("\t")[0]
            table[label] = names.index(name) if name in names else IGNORE_INDEX
        for label_file in sorted((folder / "labels").glob("*.png")):
            path = next((folder / "images").glob(f"{label_file.stem}.*"))
            line = attribution[path.name]
            if not line.split("\t")[1].startswith(licences):
                continue
            label_map = table[read_label_map(label_file)]
            features, grid = see(path)
            photographs.append(
                Photograph(
                    data_set=data_set,
                    path=path,
                    attribution=line,
                    label_map=label_map,
                    features=features,
                    shares=name_shares(label_map, grid, len(names)),
                )
            )
    return photographs


@torch.inference_mode()
def describe(model: Segmenter, path: Path) -> tuple[Tensor, tuple[int, int]]:
    """Give the features of each patch of a photograph, resized as mini resizes it."""
    assert isinstance(model, ConSE)
    network: Any = model.image_encoder

    def encode(images: Tensor) -> PatchFeatures:
        grid = (images.shape[2] // model.stride, images.shape[3] // model.stride)
        _, middle, last = network.encode_with_maps(images)
        tokens = patch_features(images, NetworkMaps(middle=middle, last=last), grid)
        return PatchFeatures(tokens=tokens, grid=grid, stride=model.stride)

    encoded = encode_images(
        encode,
        [load_image(path)],
        [path],
        model="mini",
        stride=model.stride,
        settings=model.settings,
        device=torch.device("cpu"),
    )[0]
    return encoded.features[0].tokens[0], encoded.features[0].grid


def name_shares(label_map: np.ndarray, grid: tuple[int, int], num_names: int) -> Tensor:
    """Count what share of each patch's pixels has each name."""
    rows, columns = (
        np.minimum((np.arange(side) + 0.5) * count / side, count - 1).astype(np.int64)
        for side, count in zip(label_map.shape, grid, strict=True)
    )
    patch = rows[:, None] * grid[1] + columns[None]
    num_patches = grid[0] * grid[1]
    named = label_map != IGNORE_INDEX
    cells = patch[named] * num_names + label_map[named]
    counts = np.bincount(cells, minlength=num_patches * num_names).reshape(num_patches, num_names)
    return torch.from_numpy(counts / np.bincount(patch.ravel(), minlength=num_patches)[:, None]).float()


def calibration_losses(photographs: Sequence[Photograph], num_names: int) -> dict[Path, Tensor]:
    """Give, for each photograph of COCO's own masks, the loss of every temperature and score of "none"."""
    order = torch.randperm(num_names, generator=torch.Generator().manual_seed(0))
    losses = {each.path: torch.zeros(len(TEMPERATURES), len(NONE_SCORES)) for each in judged(photographs)}
    trained = [each for each in photographs if each.path not in losses]
    gram, products = add(each.sums() for each in trained)
    for part in range(NAME_PARTS):
        keep = torch.ones(num_names)
        keep[order[part::NAME_PARTS]] = 0
        hidden_gram, _ = add(
            each.sums(1 - keep) for each in trained
        )  # of a quarter of the pixels: the cheaper part
        weight = solve_ridge(gram - hidden_gram, products * keep, PENALTY)
        for each in judged(photographs):
            scores = (each.features @ weight).masked_fill(keep == 0, -1e9)
            kept, hidden = each.shares * keep, (each.shares * (1 - keep)).sum(dim=1)
            for row, temperature in enumerate(TEMPERATURES):
                for column, none_score in enumerate(NONE_SCORES):
                    how = {"temperature": temperature, "none_score": none_score}
                    head = NameHead([""] * num_names, weight, num_things=NUM_THINGS, **how)
                    posterior = head.posterior(scores)
                    none = (1 - posterior.sum(dim=1)).clamp(min=1e-6)
                    loss = -(kept * (posterior + 1e-6).log()).sum() - (hidden * none.log()).sum()
                    losses[each.path][row, column] += loss
    return losses


def best_calibration(losses: Sequence[Tensor]) -> tuple[float, float]:
    """Return the temperature and the score of "none" with the least summed loss."""
    row, column = divmod(int(torch.stack(list(losses)).sum(dim=0).argmin()), len(NONE_SCORES))
    return TEMPERATURES[row], NONE_SCORES[column]


def judged(photographs: Sequence[Photograph]) -> list[Photograph]:
    """Return the photographs whose masks are COCO's own, on which heads are calibrated and measured."""
    return [each for each in photographs if each.data_set != "coco-things-free"]


def add(sums: Any) -> tuple[Tensor, Tensor]:
    grams, products = zip(*sums, strict=True)
    return sum(grams[1:], grams[0].clone()), sum(products[1:], products[0].clone())


def build(data: Path, out: Path) -> None:
    """Train on all photographs under CC BY, write the file and its attribution, print the hash."""
    names = known_names(data)
    model = build_mini(ConSESettings(head="none", smooth="none")).eval()
    photographs = read(data, names, (BY,), partial(describe, model))
    temperature, none_score = best_calibration(list(calibration_losses(photographs, len(names)).values()))
    weight = solve_ridge(*add(each.sums() for each in photographs), PENALTY)
    how: dict[str, Any] = {"temperature": temperature, "none_score": none_score}
    content = pack_name_head(names, weight, num_things=NUM_THINGS, **how)
    out.parent.mkdir(exist_ok=True)
    out.write_bytes(content)
    lines = [
        "# Photographs that mini_head.safetensors was trained on, and their masks: COCO 2017 (annotations CC BY 4.0, COCO",
        "# Consortium); stuff of coco-things-free: our own labels. Content (data.trained_on), file, licence, its address,",
        "# the photograph's address.",
        *(
            "\t".join([content_fingerprint(each.path) or "", *each.attribution.split("\t")[:4]])
            for each in sorted(photographs, key=lambda each: each.path.name)
        ),
    ]
    out.with_name(f"{out.stem}_ATTRIBUTION.tsv").write_text("\n".join(lines) + "\n")
    print(
        f"{out}: {len(content):,} bytes from {len(photographs)} photographs, temperature {temperature}, none {none_score}"
    )
    found = hashlib.sha256(content).hexdigest()
    print(f"SHA-256 {found}: {'the' if found == HEAD.sha256 else 'NOT the'} one that is shipped")


def known_names(data: Path) -> list[str]:
    return (data / "coco-free" / "classes.txt").read_text().splitlines()


def leave_one_out(
    photographs: Sequence[Photograph], trained: Callable[[Photograph], bool], shipped: NameHead
) -> dict[Path, NameHead]:
    """Train, for each photograph of COCO's own masks, a head that has not seen it, with the calibration of the shipped one."""
    gram, products = add(each.sums() for each in photographs if trained(each))
    heads = {}
    for each in judged(photographs):
        own = each.sums() if trained(each) else (0, 0)
        weight = solve_ridge(gram - own[0], products - own[1], PENALTY)
        heads[each.path] = like(shipped, shipped.names, weight, NUM_THINGS)
    return heads


def like(shipped: NameHead, names: Sequence[str], weight: Tensor, num_things: int) -> NameHead:
    """Build a head with the calibration of the shipped one."""
    how: dict[str, Any] = {"temperature": shipped.temperature, "none_score": shipped.none_score}
    return NameHead(names, weight, num_things=num_things, **how)


def main() -> None:
    """Build the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=HEAD.path(), help="default: where the shipped one is")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # sums in one order: the same file every time
    build(arguments.data, arguments.out)


if __name__ == "__main__":
    main()
