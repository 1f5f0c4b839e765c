"""What decides at a pixel in GroupViT: the segment that it is in, and what the whole window may be."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool

from lexiseg.core.explanation import Evidence
from lexiseg.inference.grounds import AskedPixel, Grounds, window_at
from lexiseg.methods.groupvit.stitching import segment_map

if TYPE_CHECKING:
    from lexiseg.methods.groupvit.segmenter import GroupViT


@torch.inference_mode()
def segment_grounds(model: "GroupViT", asked: AskedPixel) -> Grounds:
    """Tell what decides: affinities of the segment that holds the pixel, averaged over the windows that see it."""
    encoded = asked.encoded
    similarities = model.similarities(encoded, asked.class_names, asked.settings)
    nearest, (x, y) = window_at(encoded, asked.point)
    seen_x, seen_y = x + encoded.windows[nearest].left, y + encoded.windows[nearest].top
    affinities = []
    for features, window, found in zip(encoded.features, encoded.windows, similarities, strict=True):
        row, column = int(seen_y - window.top), int(seen_x - window.left)
        if seen_y >= window.top and seen_x >= window.left and row < window.height and column < window.width:
            affinities.append(found.affinity[int(segment_map(features, window)[row, column])])
    values = torch.stack(affinities).mean(0).float().numpy()
    window, features = encoded.windows[nearest], encoded.features[nearest]
    places = segment_map(features, window)
    segment = int(places[int(y), int(x)])
    found = similarities[nearest]
    grounds = Grounds(values=values, measure="affinity")
    evidence = []
    for place in grounds.two_best(asked.place):
        name = asked.class_name(place)
        evidence += [
            Evidence(
                kind="segment",
                name=f"segment {segment + 1} of {len(found.affinity)}",
                supports=name,
                value=float(found.cosines[segment, place]),
                measure="cosine of the segment",
            ),
            Evidence(
                kind="image",
                name=name,
                supports=name,
                value=float(found.of_image[place]),
                measure="cosine of the window as a whole",
            ),
        ]
    kept = found.of_image.argsort(descending=True, stable=True)[: model.method.segments.kept_classes].tolist()
    names = ", ".join(asked.class_name(place) for place in kept)
    return Grounds(
        values=values,
        measure="affinity",
        evidence=tuple(evidence),
        notes=(f"Classes that the window as a whole may have: {names}.",),
        region=_region(asked, nearest, places == segment),
    )


def _region(asked: AskedPixel, index: int, mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "H W"]:
    """Lay the segment of a window over the image at its own size."""
    window, seen = asked.encoded.windows[index], asked.encoded.resized_size
    whole = np.zeros(seen, bool)
    whole[window.top : window.top + window.height, window.left : window.left + window.width] = mask
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp)
        for new, old in zip(asked.encoded.image.shape[:2], seen, strict=True)
    )
    return whole[np.ix_(rows, columns)]
