"""Why each region got its label: its ranking, the runner-up, and the reference images nearest to it.

Drawn as one HTML file that needs no other.
"""

import base64
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, UInt8

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.drawing import region_thumbnail
from lexiseg.core.vocabulary import Vocabulary, Words
from lexiseg.data.images import ImageSource
from lexiseg.inference.encode import EncodedImage
from lexiseg.methods.rim.segmenter import RIM
from lexiseg.methods.rim.vocabulary_references import BACKGROUND

#: Reference images shown for a region: of the class that won, and of the others.
NUM_NEAREST, NUM_OTHERS = 3, 2


@dataclass(frozen=True, kw_only=True)
class NearReference:
    """A reference image.

    Attributes:
        class_name: The class it stands for.
        origin: The file or seed it came from.
        cosine: Cosine of its feature with the region's.
        thumbnail: A small JPEG file.
        number: Row of the image in the bank.
    """

    number: int
    class_name: str
    origin: str
    cosine: float
    thumbnail: bytes


@dataclass(frozen=True, kw_only=True)
class RankedClass:
    """A candidate of a region.

    Attributes:
        name: The class.
        cosine: Similarity of the region to its nearest reference.
        divergence: Distance of the two rankings; the smallest wins.
    """

    name: str
    cosine: float
    divergence: float


@dataclass(frozen=True, kw_only=True, eq=False)
class RegionExplanation:
    """What decided one region.

    Attributes:
        mask: The region.
        ranking: Candidate classes, the winner first, then the runner-up.
        best_by_cosine: The class that would have won without relations.
        nearest: The nearest reference images of the winner, then of the other classes of the vocabulary.
        nearness: Largest cosine with all references of the bank, asked for or not.
        near_from: A region of a lower one is unknown.
    """

    mask: Bool[np.ndarray, "H W"]
    ranking: tuple[RankedClass, ...]
    best_by_cosine: str
    nearest: tuple[NearReference, ...]
    nearness: float
    near_from: float

    @property
    def is_unknown(self) -> bool:
        """Return whether no reference is near."""
        return self.nearness < self.near_from

    @property
    def margin(self) -> float | None:
        """Return by how much the divergence of the runner-up is larger than the winner's; None without one."""
        return self.ranking[1].divergence - self.ranking[0].divergence if len(self.ranking) > 1 else None

    @property
    def label(self) -> str:
        """The winner."""
        return self.ranking[0].name

    @property
    def runner_up(self) -> str | None:
        """The class that came second; None where there was no other."""
        return self.ranking[1].name if len(self.ranking) > 1 else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """An image and its regions, the largest first."""

    image: UInt8[np.ndarray, "H W 3"]
    regions: tuple[RegionExplanation, ...]


def explain(model: RIM, image: ImageSource | EncodedImage, words: Words) -> Explanation:
    """Tell, for every region of an image, how its label came about.

    Args:
        model: The segmenter.
        image: What ``segment`` takes.
        words: The vocabulary.

    Raises:
        VocabularyError: The bank has none of the words.
        ImageError: The image cannot be read.
    """
    vocabulary = Vocabulary.parse(words)
    model.check_vocabulary(vocabulary)
    encoded = image if isinstance(image, EncodedImage) else model.encode(image)
    chosen = model.competitors(vocabulary.all_names())
    regions = model.regions(encoded)
    if not len(regions) or not len(chosen.labels):
        return Explanation(image=encoded.image, regions=())
    features = model.region_features(encoded)
    matched, cosines = model.match(features, chosen)
    names = ["background" if row == BACKGROUND else model.bank.names[row] for row in chosen.bank_rows]
    known = torch.isin(model.bank.image_classes, torch.tensor(chosen.bank_rows)).nonzero()[:, 0]
    likeness = features @ model.bank.features[known].float().T
    nearness = model.nearness(features)
    competitors = torch.tensor(chosen.bank_rows)
    order = np.argsort([-np.count_nonzero(mask) for mask in regions], kind="stable")
    found = []
    for region in order.tolist():
        candidates, apart = matched.candidates[region], matched.divergences[region]
        ranking = tuple(
            RankedClass(
                name=names[int(candidates[place])],
                cosine=float(cosines[region, candidates[place]]),
                divergence=float(apart[place]),
            )
            for place in apart.argsort(stable=True).tolist()
        )
        # The winner's own images first: they are why; then what else is near.
        own = torch.isin(
            model.bank.image_classes[known],
            competitors[chosen.labels == chosen.labels[matched.labels[region]]],
        )
        order_of = torch.where(own, 2.0, 0.0) + likeness[region]
        of_winner = order_of.topk(min(NUM_NEAREST, int(own.sum()))).indices
        of_others = torch.where(own, -2.0, likeness[region]).topk(min(NUM_OTHERS, int((~own).sum()))).indices
        shown = torch.cat([of_winner, of_others])
        photos = known[shown].tolist()
        found.append(
            RegionExplanation(
                mask=regions[region],
                ranking=ranking,
                best_by_cosine=names[int(matched.best_by_score[region])],
                nearest=tuple(
                    _near(model, photo, float(likeness[region, place]))
                    for photo, place in zip(photos, shown.tolist(), strict=True)
                ),
                nearness=float(nearness[region]),
                near_from=model.near_from,
            )
        )
    return Explanation(image=encoded.image, regions=tuple(found))


def _near(model: RIM, image: int, cosine: float) -> NearReference:
    bank = model.bank
    return NearReference(
        number=image,
        class_name=bank.names[int(bank.image_classes[image])],
        origin=bank.origins[image],
        cosine=cosine,
        thumbnail=bank.thumbnail(image),
    )


_IMAGE_SIDE = 240

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.3rem} h2{font-size:1.05rem;margin:0 0 .3rem} section{display:grid;grid-template-columns:250px 1fr 1fr;
gap:1.2rem;padding:1rem 0;border-top:1px solid #ccc} img{max-width:100%} table{border-collapse:collapse}
.verdict{font-size:1.05rem} .unknown{background:#fff3cd;padding:.2rem .4rem}
td,th{text-align:left;padding:.1rem .8rem .1rem 0;font-variant-numeric:tabular-nums} .near{display:flex;gap:.8rem}
.wrap{flex-wrap:wrap}
figure{margin:0;width:6rem} figcaption{font-size:.8rem;overflow-wrap:anywhere} .note{color:#555}
@media(max-width:50rem){section{grid-template-columns:1fr}}
"""


def save_explanation(explanation: Explanation, path: Path, title: str) -> None:
    """Write the sheet: per region its place, its ranking and runner-up, and the nearest references.

    Raises:
        OutputError: It cannot be written.
    """
    count = len(explanation.regions)
    blocks = "".join(
        _block(explanation, region, number) for number, region in enumerate(explanation.regions, start=1)
    )
    if not blocks:
        blocks = "<p>No region was found: every pixel was labelled by its own patch.</p>"
    blocks += _gallery(explanation)
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{escape(title)}: why {count} regions got their labels</h1>"
        '<p class="note">A region takes the class whose references rank the classes most alike: the '
        "smallest divergence. Cosine is the plain similarity to the class's nearest reference. The "
        f"matching formula is a reconstruction of the paper's.</p>{blocks}</html>\n"
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def verdict(region: RegionExplanation) -> str:
    """Return in two or three sentences what a region is called and what that rests on."""
    same = region.best_by_cosine == region.label
    parts = [
        f"{region.label}.",
        "Cosine alone says the same." if same else f"Cosine alone would have said {region.best_by_cosine}.",
    ]
    if region.margin is not None:
        parts.append(f"Margin to {region.runner_up}: {region.margin:.3f} of divergence.")
    else:
        parts.append("No other class was compared.")
    if region.is_unknown:
        parts.insert(
            0,
            f"Unknown: no reference is near (cosine {region.nearness:.2f}, known things have {region.near_from:.2f} "
            "or more). The nearest class is",
        )
    return " ".join(parts)


def _gallery(explanation: Explanation) -> str:
    """List the reference images that stand beside regions, each with the regions it is near to."""
    users: dict[int, list[int]] = {}
    images: dict[int, NearReference] = {}
    for number, region in enumerate(explanation.regions, start=1):
        for each in region.nearest:
            images[each.number] = each
            users.setdefault(each.number, []).append(number)
    if not images:
        return ""
    figures = "".join(
        f'<figure id="reference-{number}">{_image(each)}<figcaption>{escape(each.class_name)}<br>'
        f"{escape(each.origin)}<br>"
        + ", ".join(f'<a href="#region-{region}">region {region}</a>' for region in users[number])
        + "</figcaption></figure>"
        for number, each in sorted(images.items())
    )
    return f'<h2>Reference images</h2><div class="near wrap">{figures}</div>'


def _image(each: NearReference) -> str:
    return (
        f'<img alt="reference image of {escape(each.class_name)}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(each.thumbnail).decode()}">'
    )


def _block(explanation: Explanation, region: RegionExplanation, number: int) -> str:
    share = float(region.mask.mean())
    rows = "".join(
        f"<tr><td>{escape(each.name)}</td><td>{each.divergence:.3f}</td><td>{each.cosine:.3f}</td></tr>"
        for each in region.ranking
    )
    near = "".join(
        f'<figure><a href="#reference-{each.number}">{_image(each)}</a>'
        f"<figcaption>{escape(each.class_name)} {each.cosine:.3f}<br>{escape(each.origin)}</figcaption></figure>"
        for each in region.nearest
    )
    heading = "unknown" if region.is_unknown else escape(region.label)
    kind = "verdict unknown" if region.is_unknown else "verdict"
    return (
        f'<section id="region-{number}"><img alt="the region labelled {escape(region.label)}" '
        f'src="data:image/jpeg;base64,{region_thumbnail(explanation.image, region.mask, _IMAGE_SIDE)}">'
        f'<div><h2>{heading}</h2><p class="{kind}">{escape(verdict(region))}</p>'
        f'<p class="note">Region {number}, {share:.1%} of the image</p>'
        f"<table><tr><th>class</th><th>divergence</th><th>cosine</th></tr>{rows}</table></div>"
        f'<div><p>Nearest references, of {escape(region.label)} first</p><div class="near">{near}</div></div></section>'
    )
