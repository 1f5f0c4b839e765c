"""Write scenes as a data folder, as a person would bring one; draw a sheet of scenes to look at."""

import dataclasses
import hashlib
import json
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt16
from PIL import Image, ImageDraw

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.batch import Sample
from lexiseg.core.constants import IGNORE_INDEX, IGNORE_INDEX_8BIT
from lexiseg.core.drawing import class_colours, colour_map
from lexiseg.core.errors import DatasetError, InputError
from lexiseg.core.folder_lock import writing_alone
from lexiseg.core.fonts import draw_text, text_length
from lexiseg.core.json_text import read_json_file
from lexiseg.core.vocabulary import Vocabulary, as_lines
from lexiseg.core.word_lists import quoted
from lexiseg.data.scenes.draw import FIRST_EVALUATION_SEED, WORLD_VERSION, draw_scene
from lexiseg.data.scenes.settings import PasteSettings, WorldSettings
from lexiseg.data.scenes.world import World, world_of

_FACTS = "scenes.json"


def write_scene_folder(
    settings: WorldSettings,
    out: Path,
    *,
    num: int,
    num_val: int,
    seed: int = 0,
    hide_unseen: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> int:
    """Write ``num`` scenes, the last ``num_val`` of them for validation; return the number of new images.

    The same call goes on where it was stopped. In a world with unseen classes that are ``absent`` from
    training, they are absent from the training scenes here too.

    Args:
        settings: What scenes are like.
        out: The folder.
        num: Scenes in all.
        num_val: Scenes of ``val.txt``; the others are ``train.txt``.
        seed: Seed of the scenes.
        hide_unseen: Make pixels of unseen classes void in the training scenes, as weak-shot and zero-shot
            training need; tags and captions still name them.
        advance: Called after each scene.

    Raises:
        InputError: The numbers do not fit, there is nothing to hide, or another run writes there.
        DatasetError: The folder holds other data.
        OutputError: It cannot be written.
    """
    world = world_of(settings)
    if not 0 < num_val < num:
        raise InputError(
            doing=f"writing scenes to {out}",
            found=f"{num} scenes, {num_val} of them for validation",
            expected="at least one for training and one for validation",
            fix="Write more scenes, or change the number for validation.",
        )
    if hide_unseen and world.vocabulary.seen is None:
        raise InputError(
            doing=f"writing scenes to {out}",
            found="no unseen class to hide",
            expected="scenes with unseen classes",
            fix="Name some with --unseen, give --unseen-share, or take the preset weak-shot.",
        )
    with writing_alone(out):
        _claim(settings, world.content, out, num, num_val, seed, hide_unseen)
        return _write_scenes(
            settings,
            world,
            out,
            num=num,
            num_val=num_val,
            seed=seed,
            hide_unseen=hide_unseen,
            advance=advance,
        )


def _write_scenes(
    settings: WorldSettings,
    world: World,
    out: Path,
    *,
    num: int,
    num_val: int,
    seed: int,
    hide_unseen: bool,
    advance: Callable[[], None],
) -> int:
    """Draw what is not there yet and write the lists; return the number of new scenes."""
    samples = {}
    written = 0
    for place in range(num):
        is_val = place >= num - num_val
        row = FIRST_EVALUATION_SEED + seed if is_val else seed
        training = not is_val and (hide_unseen or settings.unseen_in_training == "absent")
        sample = draw_scene(settings, row, place, training=training)
        stem = f"scene-{place:06}"
        image, label = out / "images" / f"{stem}.png", out / "labels" / f"{stem}.png"
        if not (image.is_file() and label.is_file()):
            _save(image, Image.fromarray(sample.image))
            assert sample.label_map is not None
            _save(label, _label_image(sample.label_map, len(world.vocabulary)))
            written += 1
        samples[stem] = dataclasses.replace(sample, image=sample.image[:0], label_map=None)
        advance()
    _write_lists(out, world.vocabulary, samples, num - num_val)
    return written


def _claim(
    settings: WorldSettings, content: str, out: Path, num: int, num_val: int, seed: int, hide_unseen: bool
) -> None:
    """Note what the folder is made of, or see that it is made of the same."""
    if isinstance(settings, PasteSettings):  # wherever the cut-outs are: their content counts
        settings = dataclasses.replace(settings, folder=Path())
    parts = f"{WORLD_VERSION} {settings!r} {content} {num} {num_val} {seed} {hide_unseen}"
    facts = {"made by": "lexiseg scenes make", "fingerprint": hashlib.sha256(parts.encode()).hexdigest()}
    file = out / _FACTS
    if not file.is_file():
        if out.is_dir() and any(out.iterdir()):
            found, fix = "a folder that holds other files", "Choose a new or empty folder."
            raise _other_data(out, found, fix)
        _write(file, [json.dumps(facts)])
        return
    try:
        before = read_json_file(file)
    except (OSError, ValueError) as error:
        found, fix = f"{_FACTS}, which cannot be read ({error})", "Choose a new folder."
        raise _other_data(out, found, fix) from error
    if before != facts:
        found = "scenes made with other settings, seed or numbers"
        raise _other_data(out, found, "Give the same options as before to go on, or choose a new folder.")


def _write_lists(out: Path, vocabulary: Vocabulary, samples: dict[str, Sample], num_train: int) -> None:
    stems = list(samples)
    _write(out / "classes.txt", as_lines(vocabulary))
    if vocabulary.seen is not None:
        _write(out / "seen.txt", [vocabulary.names[label] for label in sorted(vocabulary.seen)])
    tags = {
        stem: ", ".join(quoted(vocabulary.names[label]) for label in sorted(sample.tags or ()))
        for stem, sample in samples.items()
    }
    _write(out / "tags.tsv", [f"{stem}\t{names}" for stem, names in tags.items()])
    captions = [f"{stem}\t{text}" for stem, sample in samples.items() for text in sample.captions]
    _write(out / "captions.tsv", captions)
    _write(out / "train.txt", stems[:num_train])
    _write(out / "val.txt", stems[num_train:])


def _label_image(label_map: UInt16[np.ndarray, "H W"], num_classes: int) -> Image.Image:
    if num_classes > IGNORE_INDEX_8BIT:
        return Image.fromarray(label_map)
    labels = np.where(label_map == IGNORE_INDEX, IGNORE_INDEX_8BIT, label_map)
    return Image.fromarray(labels.astype(np.uint8))


def _save(path: Path, image: Image.Image) -> None:
    with atomic_path(path) as temporary:
        image.save(temporary)


def _write(path: Path, lines: Iterable[str]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _other_data(out: Path, found: str, fix: str) -> DatasetError:
    return DatasetError(
        doing=f"writing scenes to {out}",
        found=found,
        expected="no folder, an empty one, or one to go on with",
        fix=fix,
    )


_SIDE, _GAP, _TEXT = 192, 12, 13
_LINE = _TEXT + 5


def draw_sheet(samples: Sequence[Sample], vocabulary: Vocabulary, *, columns: int = 3) -> Image.Image:
    """Draw samples with label maps in a grid.

    Args:
        samples: Scenes, all square.
        vocabulary: Their classes.
        columns: Scenes in one row.
    """
    columns = min(columns, len(samples))
    cells = [_draw_cell(sample, vocabulary) for sample in samples]
    width = max(cell.width for cell in cells)
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [max(cell.height for cell in row) for row in rows]
    size = (columns * (width + 2 * _GAP), sum(heights) + (len(rows) + 1) * _GAP)
    sheet = Image.new("RGB", size, "white")
    top = _GAP
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            sheet.paste(cell, (_GAP + column * (width + 2 * _GAP), top))
        top += height + _GAP
    return sheet


def _draw_cell(sample: Sample, vocabulary: Vocabulary) -> Image.Image:
    assert sample.label_map is not None
    colours = class_colours(len(vocabulary))
    width = 2 * _SIDE + 4
    legend = _legend_lines(np.unique(sample.label_map).tolist(), vocabulary, width)
    texts = [line for text in sample.captions for line in textwrap.wrap(f"“{text}”", 58)]
    cell = Image.new("RGB", (width, _SIDE + 8 + _LINE * (len(legend) + len(texts))), "white")
    labels = colour_map(sample.label_map, len(vocabulary))
    for left, pixels in ((0, sample.image), (_SIDE + 4, labels)):
        cell.paste(Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.NEAREST), (left, 0))
    draw = ImageDraw.Draw(cell)
    top = _SIDE + 6
    for entries in legend:
        left = 0
        for label, name, advance in entries:
            box = (left, top + 2, left + _TEXT, top + 2 + _TEXT)
            draw.rectangle(box, fill=tuple(int(part) for part in colours[label]))
            draw_text(draw, (left + _TEXT + 4, top), name, fill="black", size=_TEXT)
            left += advance
        top += _LINE
    for text in texts:
        draw_text(draw, (0, top), text, fill=(90, 90, 90), size=_TEXT)
        top += _LINE
    return cell


def _legend_lines(
    labels: Sequence[int],
    vocabulary: Vocabulary,
    width: int,
) -> list[list[tuple[int, str, int]]]:
    lines: list[list[tuple[int, str, int]]] = [[]]
    used = 0
    for label in labels:
        if label >= len(vocabulary):
            continue
        is_unseen = vocabulary.seen is not None and label not in vocabulary.seen
        name = vocabulary.names[label] + (" (unseen)" if is_unseen else "")
        advance = _TEXT + 18 + int(text_length(name, _TEXT))
        if lines[-1] and used + advance > width:
            lines.append([])
            used = 0
        lines[-1].append((label, name, advance))
        used += advance
    return lines
