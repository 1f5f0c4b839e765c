"""Find the one thing a photograph shows, without any network: what differs from the image's rim.

The rim of a photograph of one thing is mostly surroundings (the boundary prior of Wei et al.,
"Geodesic Saliency Using Background Priors", ECCV 2012). A pixel's contrast is its distance in Lab to
the nearest of a few colours of the rim, weighted towards the centre; Otsu's threshold cuts it, and
the largest connected part, holes filled, is the object.
"""

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image
from scipy import ndimage

#: Side of the copy that is looked at; the mask is enlarged afterwards.
_SIDE = 96
_RIM_COLOURS = 8


def salient_object(image: UInt8[np.ndarray, "H W 3"]) -> Bool[np.ndarray, "H W"]:
    """Return the mask of the most salient object of an RGB image of 0..255; empty where nothing differs."""
    height, width = image.shape[:2]
    contrast = rim_contrast(image)
    if contrast.max() < 2.0:  # about the smallest difference in Lab that an eye notices
        return np.zeros((height, width), bool)
    parts, _ = ndimage.label(contrast > _otsu(contrast))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    found = ndimage.binary_fill_holes(parts == sizes.argmax()) if sizes.any() else parts > 0
    grown = Image.fromarray(found.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(grown) > 127


def rim_contrast(image: UInt8[np.ndarray, "H W 3"]) -> Float32[np.ndarray, "h w"]:
    """Return how much each place differs in Lab from the colours of the image's rim, less towards the rim itself.

    At a reduced size, with the longer side ``_SIDE`` pixels or the image's own. It knows of no class: the floor of
    whatever claims to find things.
    """
    height, width = image.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray(image).resize(size, Image.Resampling.BOX)
    colours = _lab(np.asarray(small))
    rim = np.concatenate([colours[0], colours[-1], colours[:, 0], colours[:, -1]])
    typical = rim[np.argsort(rim[:, 0], kind="stable")]
    typical = np.stack([part.mean(0) for part in np.array_split(typical, min(_RIM_COLOURS, len(typical)))])
    contrast = np.linalg.norm(colours[:, :, None] - typical, axis=-1).min(-1)
    rows, columns = (np.linspace(-1, 1, side) for side in contrast.shape)
    contrast = contrast * np.exp(-(rows[:, None] ** 2 + columns**2))
    return contrast.astype(np.float32)


def _otsu(values: Float32[np.ndarray, "h w"] | np.ndarray) -> float:
    """Return the cut that separates two groups with the largest variance between them."""
    ordered = np.sort(values.ravel())
    count = np.arange(1, ordered.size)
    total = np.cumsum(ordered)
    low, high = total[:-1] / count, (total[-1] - total[:-1]) / (ordered.size - count)
    between = count * (ordered.size - count) * (high - low) ** 2
    return float(ordered[between.argmax()])


def _lab(image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    """Convert sRGB of 0..255 to CIE Lab under D65; L is 0..100."""
    rgb = image.astype(np.float32) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = linear @ (to_xyz / np.array([[0.95047], [1.0], [1.08883]])).T
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    lightness = 116 * root[..., 1] - 16
    return np.stack(
        [lightness, 500 * (root[..., 0] - root[..., 1]), 200 * (root[..., 1] - root[..., 2])], -1
    ).astype(np.float32)
