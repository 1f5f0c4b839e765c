"""COCO run lengths: masks as compressed strings, the same strings pycocotools writes.

A mask is read column by column and written as lengths of alternating runs, zeros first. Each
length (from the fourth on: its difference to the one two before) is cut into groups of five bits,
lowest first, with a continuation bit, and each group becomes a character from "0" to "o".

A label map holds one mask per class. ``encode_label_map`` writes all of them in one pass: it looks
for places where a pixel differs from the one above (row by row, as memory lies), sorts those few
places by column, and walks along them, so its cost hardly depends on the number of classes.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypedDict, no_type_check

import numpy as np
from jaxtyping import Bool, UInt16

from lexiseg.core.compiled import njit
from lexiseg.core.constants import IGNORE_INDEX, MAX_PIXELS
from lexiseg.core.errors import InputError, as_found

_WORD = 8  # flags looked at together
_MOST_SHIFT = 60  # bits of a count; more is damage, and would be a number of any length
_MAX_CHARACTERS = 7  # 32-bit lengths and a sign, five bits a character


class RunLengths(TypedDict):
    """A mask as COCO writes it.

    Attributes:
        size: ``[height, width]``.
        counts: Compressed run lengths; read as bytes too, which pycocotools gives.
    """

    size: list[int]
    counts: str | bytes


def encode(mask: Bool[np.ndarray, "H W"]) -> RunLengths:
    """Write one mask as run lengths, character for character as ``pycocotools.mask.encode``."""
    labels = np.where(mask, np.uint16(0), np.uint16(IGNORE_INDEX))
    empty = RunLengths(size=list(mask.shape), counts=_write_counts([mask.size]))
    return encode_label_map(labels, 1).get(0, empty)


def encode_label_map(label_map: UInt16[np.ndarray, "H W"], num_classes: int) -> dict[int, RunLengths]:
    """Write the masks of all classes of a label map in one pass.

    Args:
        label_map: Class index per pixel; 65535 = void, which gets no mask.
        num_classes: Labels are below this.

    Returns:
        Label to run lengths, for the labels that occur, in ascending order.

    Raises:
        InputError: A label is ``num_classes`` or more and not void.
    """
    height, width = label_map.shape
    starts, labels = _find_runs(np.ascontiguousarray(label_map))
    top = int(labels[labels != IGNORE_INDEX].max(initial=0))
    if top >= num_classes:
        raise InputError(
            doing="writing the masks of a label map",
            found=f"label {top}",
            expected=f"labels 0 to {num_classes - 1} for {num_classes} classes, or {IGNORE_INDEX} for void",
            fix="Give the number of classes of the vocabulary that the label map indexes.",
        )
    text, ends = _write_labels(starts, labels, top + 1, label_map.size)
    characters = text.tobytes().decode("ascii")
    edges = [0, *ends.tolist()]
    return {
        label: RunLengths(size=[height, width], counts=characters[edges[label] : edges[label + 1]])
        for label in range(top + 1)
        if edges[label + 1] > edges[label]
    }


class Annotation(TypedDict):
    """The mask of one class of an image, as COCO's annotations and results have it.

    Attributes:
        category_id: Label of the class.
        category_name: Its name.
        segmentation: Its mask.
        area: Pixels of the mask.
        bbox: ``[x, y, width, height]`` in pixels.
    """

    category_id: int
    category_name: str
    segmentation: RunLengths
    area: int
    bbox: list[int]


def annotate(label_map: UInt16[np.ndarray, "H W"], names: Sequence[str]) -> Iterator[Annotation]:
    """Return the annotation of every class that occurs, in label order.

    Args:
        label_map: Class index per pixel; 65535 = void, which gets no mask.
        names: What labels index.

    Raises:
        InputError: A label has no name and is not void.
    """
    for label, run_lengths in encode_label_map(label_map, len(names)).items():
        mask = label_map == label
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        yield Annotation(
            category_id=label,
            category_name=names[label],
            segmentation=run_lengths,
            area=int(np.count_nonzero(mask)),
            bbox=[int(value) for value in box],
        )


def decode(run_lengths: RunLengths) -> Bool[np.ndarray, "H W"]:
    """Read a mask from run lengths: the inverse of ``encode``.

    Raises:
        InputError: The counts are damaged or do not fill the size.
    """
    counts = _checked_counts(run_lengths)
    height, width = run_lengths["size"]
    flat = np.zeros(height * width, dtype=np.bool_)
    position = 0
    for index, count in enumerate(counts):
        if index % 2:
            flat[position : position + count] = True
        position += count
    return np.ascontiguousarray(flat.reshape(width, height).T)


def area(run_lengths: RunLengths) -> int:
    """Count the pixels of a mask without decoding it.

    Raises:
        InputError: The counts are damaged or do not fill the size.
    """
    return sum(_checked_counts(run_lengths)[1::2])


def _checked_counts(run_lengths: RunLengths) -> list[int]:
    height, width = _checked_size(run_lengths)
    written = run_lengths["counts"]
    if isinstance(written, bytes):  # as pycocotools gives it
        written = written.decode("ascii", "replace")
    counts: list[int] = []
    value = shift = 0
    damaged = False
    for character in written:
        group = ord(character) - 48
        damaged |= not 0 <= group < 64 or shift > _MOST_SHIFT
        if damaged:
            break
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if damaged or shift or min(counts, default=-1) < 0 or sum(counts) != height * width:
        raise InputError(
            doing=f"reading run lengths of a mask of {height}×{width}",
            found="a damaged counts string"
            if damaged or shift
            else f"runs that add up to {sum(counts):,} pixels",
            expected=f"runs of zero or more pixels that add up to {height * width:,}",
            fix="Check that size is [height, width] and that counts is the whole string.",
        )
    return counts


def _checked_size(run_lengths: Any) -> tuple[int, int]:
    """Return height and width; what is not run lengths at all is refused too, as it may come out of any file."""
    size = run_lengths.get("size") if isinstance(run_lengths, dict) else None
    counts = run_lengths.get("counts") if isinstance(run_lengths, dict) else None
    if not (isinstance(size, list | tuple) and len(size) == 2 and all(type(side) is int for side in size)):
        found = f"size {as_found(size)}"
    elif not (size[0] > 0 and size[1] > 0 and size[0] * size[1] <= MAX_PIXELS):
        found = f"a mask of {as_found(size[0])}×{as_found(size[1])}"
    elif not isinstance(counts, str | bytes):
        found = f"counts of type {type(counts).__name__}"
    else:
        return size[0], size[1]
    raise InputError(
        doing="reading run lengths of a mask",
        found=found,
        expected=f"size [height, width], {MAX_PIXELS:,} pixels at most, and counts as a compressed string",
        fix="Check the file; uncompressed counts and polygons become strings by pycocotools' mask.frPyObjects.",
    )


def _write_counts(counts: list[int]) -> str:
    buffer = np.empty(len(counts) * _MAX_CHARACTERS, np.uint8)
    position = 0
    for index, count in enumerate(counts):
        position = _append(buffer, position, count - counts[index - 2] if index > 2 else count)
    return buffer[:position].tobytes().decode("ascii")


# Kernels carry no_type_check, or the tests' shape checker would wrap them and numba could not cache them.
@njit(cache=True, nogil=True)
@no_type_check
def _find_runs(label_map):
    """Return start (in column order) and label of every run, in column order."""
    height, width = label_map.shape
    # Worst case one run a pixel; pages that are never touched cost nothing.
    found_column = np.empty(height * width, np.uint32)
    found_row = np.empty(height * width, np.uint32)
    num_in_column = np.zeros(width + 1, np.int64)
    num = 0
    for column in range(width):  # a run may go on from the foot of one column to the head of the next
        if column == 0 or label_map[0, column] != label_map[height - 1, column - 1]:
            found_column[num], found_row[num] = column, 0
            num_in_column[column + 1] += 1
            num += 1
    flags = np.zeros((width + _WORD - 1) // _WORD * _WORD, np.uint8)
    words = flags.view(np.uint64)
    for row in range(1, height):
        here, above = label_map[row], label_map[row - 1]
        for column in range(width):  # no branch, so the compiler vectorises it
            flags[column] = here[column] != above[column]
        for word in range(words.size):
            if words[word] != 0:
                for column in range(word * _WORD, min(word * _WORD + _WORD, width)):
                    if flags[column]:
                        found_column[num], found_row[num] = column, row
                        num_in_column[column + 1] += 1
                        num += 1
    place = np.cumsum(num_in_column)
    starts = np.empty(num, np.int64)
    labels = np.empty(num, np.uint16)
    for run in range(num):  # counting sort by column; rows are in order already
        x, y = np.int64(found_column[run]), np.int64(found_row[run])
        starts[place[x]] = x * height + y
        labels[place[x]] = label_map[y, x]
        place[x] += 1
    return starts, labels


@njit(cache=True, nogil=True)
@no_type_check
def _write_labels(starts, labels, num_labels, num_pixels):
    """Write the strings of labels 0 to ``num_labels - 1`` one after the other; give text and ends."""
    num_runs = starts.size
    place = np.zeros(num_labels + 1, np.int64)
    for run in range(num_runs):
        if labels[run] < num_labels:
            place[labels[run] + 1] += 1
    place = np.cumsum(place)
    first = place.copy()
    order = np.empty(num_runs, np.int64)
    for run in range(num_runs):  # counting sort by label
        label = labels[run]
        if label < num_labels:
            order[place[label]] = run
            place[label] += 1
    text = np.empty((2 * num_runs + num_labels) * _MAX_CHARACTERS, np.uint8)
    ends = np.empty(num_labels, np.int64)
    position = 0
    for label in range(num_labels):
        last_end = np.int64(0)
        zeros_before = ones_before = np.int64(0)
        for index in range(first[label], first[label + 1]):
            run = order[index]
            end = starts[run + 1] if run + 1 < num_runs else num_pixels
            zeros, ones = starts[run] - last_end, end - starts[run]
            number = (
                index - first[label]
            )  # zeros are count 2·number, ones the next: differences from count 3 on
            position = _append(text, position, zeros - (zeros_before if number > 1 else 0))
            position = _append(text, position, ones - (ones_before if number > 0 else 0))
            zeros_before, ones_before, last_end = zeros, ones, end
        if 0 < last_end < num_pixels:
            zeros = num_pixels - last_end
            number = first[label + 1] - first[label]
            position = _append(text, position, zeros - (zeros_before if number > 1 else 0))
        ends[label] = position
    return text[:position].copy(), ends


@njit(cache=True, nogil=True)
@no_type_check
def _append(text, position, value):
    """Write one number in groups of five bits at ``position``; return the position after it."""
    more = True
    while more:
        group = value & 31
        value >>= 5
        more = value != -1 if group & 16 else value != 0
        text[position] = group + (32 if more else 0) + 48
        position += 1
    return position
