"""``lexiseg captions maps``: where in an image a model sees what whole sentences say, its own caption and revised ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lexiseg.cli.options import Device, Licence, MethodChanges, ModelName, Trust, load_segmenter, option
from lexiseg.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

_SIDE, _MARGIN, _LINE = 224, 8, 14


@dataclass(frozen=True, kw_only=True)
class CaptionMaps:
    """Draw an image beside the map of each of some sentences, as they are, without templates.

    As SimSeg's Figure 10 does with an image's own caption and with words of it exchanged. Each map is stretched from its
    lowest (dark) to its highest place (bright); the number is the score of the whole image.
    """

    image: tyro.conf.Positional[Annotated[Path, option("IMAGE", "The image.")]]
    model: ModelName
    sentences: Annotated[
        tuple[str, ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(name="sentence", metavar="TEXT", help="A sentence; may be given several times."),
    ] = ()
    out: Annotated[Path, tyro.conf.arg(metavar="FILE", help="The PNG to write.")]
    set_: MethodChanges = ()
    trust: Trust = False
    licence: Licence = "any"
    device: Device = "auto"

    def run(self) -> int:
        """Draw and write; return the exit code."""
        import torch

        from lexiseg.core.atomic_write import atomic_path, refuse_unwritable
        from lexiseg.core.batch import Sample
        from lexiseg.data.images import load_image
        from lexiseg.inference.predict import grid_scores
        from lexiseg.scoring.image_text import as_image_text_model, embed_images

        if not self.sentences:
            raise InputError(
                doing="drawing maps of sentences",
                found="no sentence",
                expected="one or more",
                fix='Give it: --sentence "a dog on the grass"; and once more for a revised one.',
            )
        refuse_unwritable(self.out)
        image = load_image(self.image)
        segmenter = load_segmenter(self.model, self.device, self.set_, trust=self.trust, licence=self.licence)
        model = as_image_text_model(segmenter)
        with torch.inference_mode():
            embeddings = model.embed_sentences(self.sentences)
            maps = grid_scores(
                segmenter.encode(image),
                segmenter.class_scores,
                embeddings,
                [1] * len(self.sentences),
                settings=segmenter.settings,
            )
            whole = embed_images(model, [Sample(image=image, source=self.image)]) @ embeddings.float().cpu().T
        scores = whole[0].tolist()
        sheet = draw_maps(image, maps.float().cpu().numpy(), list(zip(self.sentences, scores, strict=True)))
        with atomic_path(self.out) as temporary:
            sheet.save(temporary, "PNG")
        for sentence, score in zip(self.sentences, scores, strict=True):
            print(f"{score:.3f}  {sentence}")
        print(f"written to {self.out}")
        return 0


def draw_maps(image: "np.ndarray", maps: "np.ndarray", sentences: list[tuple[str, float]]) -> "Image.Image":
    """Return a sheet: the image, then a map for each sentence and score, with the sentence below."""
    import numpy as np
    from PIL import Image, ImageDraw

    from lexiseg.core.fonts import draw_text

    height, width = image.shape[:2]
    size = (round(width * _SIDE / max(height, width)), round(height * _SIDE / max(height, width)))
    lines = [_wrapped(f"{score:.2f}  {text}", size[0]) for text, score in sentences]
    below = _LINE * max(len(each) for each in lines) + _MARGIN
    step = size[0] + _MARGIN
    sheet = Image.new("RGB", (step * (1 + len(maps)) + _MARGIN, size[1] + 2 * _MARGIN + below), "white")
    small = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    sheet.paste(small, (_MARGIN, _MARGIN))
    draw = ImageDraw.Draw(sheet)
    grey = np.asarray(small.convert("L"), np.float32)[..., None]
    for place, (one, text) in enumerate(zip(maps, lines, strict=True), 1):
        reach = one.max() - one.min()
        stretched = (one - one.min()) / reach if reach > 0 else np.zeros_like(one)
        fine = np.asarray(
            Image.fromarray(stretched.astype(np.float32)).resize(size, Image.Resampling.NEAREST)
        )
        colours = np.stack([fine, 0.75 * fine, 0.25 + 0.2 * (1 - fine)], -1) * 255
        blended = (0.25 * grey + 0.75 * colours).clip(0, 255).astype(np.uint8)
        left = _MARGIN + place * step
        sheet.paste(Image.fromarray(blended), (left, _MARGIN))
        for row, line in enumerate(text):
            draw_text(draw, (left, size[1] + 2 * _MARGIN + row * _LINE), line, size=12, fill="black")
    return sheet


def _wrapped(text: str, width: int) -> list[str]:
    """Break a sentence into at most five lines of a width in pixels."""
    from lexiseg.core.fonts import text_length

    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and text_length(longer, 12) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines[:5]
