"""Public names say what the field says: retired words are in no signature, setting, class or function."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "src/lexiseg"

#: A word or phrase of a name (parts joined by _) that is not used, and what to say.
RETIRED = {
    "pictures?": "image",
    "fillings?": "padding tokens",
    "whole_length": "pad_to_max_length",
    "responses?": "topk",
    "deviations": "num_std",
    "compared_classes": "threshold_top_k",
    "enlarged?": "upsample",
    "assemble": "paste_masks",
    "rot|rotten": "invalid",
    "broken_record": "invalid_record",
    "ledger": "invalid record log",
    "kept_here": "no_sync",
    "compared_gradients": "CachedContrastiveGradients",
    "apart": "sharded",
    "surprise": "cross-entropy",
    "several": "multimask_output",
    "answers?": "predict",
    "forms": "layouts",
    "absence": "missing_value_hint",
    "label_codes?|codes?": "label mapping",
    "bad|doubts?": "error, warning, info",
    "naming|naming_of": "mention_rate",
    "openings": "caption_prefix",
    "odd": "random",
    "known_labels": "ImageLabels",
    "part_of": "Subset",
    "common_lead": "score_margin",
    "present1": "top1_present",
    "literal": "say what it switches",
    "weak_shot_view": "MaskedLabels",
}  # fmt: skip


def parts_of(name: str) -> str:
    """Write a name in lower case with underscores between its words, and at both ends."""
    return f"_{re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', name).lower().strip('_')}_"


def names_in(path: Path) -> Iterator[str]:
    """List classes, functions, parameters and fields whose names do not begin with an underscore."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    private = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name.startswith("_")
        and not node.name.startswith("__")
        for inner in ast.walk(node)
    }  # fmt: skip
    for node in ast.walk(tree):
        if id(node) in private:
            continue
        if isinstance(node, ast.ClassDef):
            yield node.name
            fields = (item for item in node.body if isinstance(item, ast.AnnAssign))
            yield from (item.target.id for item in fields if isinstance(item.target, ast.Name))
        elif isinstance(node, ast.FunctionDef):
            yield node.name
            arguments = node.args
            given = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
            yield from (argument.arg for argument in given)


def retired_in(name: str) -> list[str]:
    parts = parts_of(name)
    return [f"{name}: say {say}" for word, say in RETIRED.items() if re.search(f"_(?:{word})_", parts)]


@pytest.mark.parametrize(
    "room",
    sorted(entry.name for entry in SOURCES.iterdir() if any(entry.glob("*.py"))) if SOURCES.is_dir() else [],
)
def test_no_public_name_has_a_retired_word(room):
    found = {
        f"{path.relative_to(SOURCES)}: {complaint}"
        for path in sorted((SOURCES / room).rglob("*.py"))
        for name in names_in(path)
        if not name.startswith("_")
        for complaint in retired_in(name)
    }
    assert not found


def test_a_retired_word_is_found_wherever_it_stands(tmp_path):
    path = tmp_path / "sample.py"
    path.write_text(
        "class ReadLedger:\n    image_responses: int = 1\n\n    def enlarge(self, several: bool) -> None: ...\n"
        "def _private(rot: int) -> None: ...\ndef fine(rotate: int) -> None: ...\n"
    )
    found = [name for name in names_in(path) if retired_in(name)]
    assert sorted(found) == ["ReadLedger", "enlarge", "image_responses", "several"]
