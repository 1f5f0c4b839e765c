"""Settings that were called otherwise once, or not there yet: runs and command lines of earlier versions.

A run that was trained under an old name, or before a setting was added, loads and goes on as before. An old flag is
refused with the new one.
"""

from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Any

from lexiseg.core.errors import InputError

#: Class of settings, by its name, to the old and the new name of its fields. Subclasses are covered.
RENAMED = {
    "PoolingSettings": {"image_responses": "image_topk", "text_responses": "text_topk"},
    "MaskSettings": {"compared_classes": "threshold_top_k", "deviations": "num_std"},
    "WorldSettings": {
        "naming": "mention_rate",
        "stuff_naming": "stuff_mention_rate",
        "naming_of": "class_mention_rates",
        "openings": "caption_prefix",
    },
    "SceneSettings": {"odd_colour_rate": "random_colour_rate"},
    "CaptionSimSegRecipe": {"max_broken": "max_invalid"},
    "SimFormerSettings": {"literal": "student_within_image"},
}

#: Class of settings, by its name, to fields that were added later, with the value that does what was done before.
ADDED: dict[str, dict[str, Any]] = {
    "OptimSettings": {"warmup_multiplies": False},
    "RunSettings": {
        "save_minutes": None,
        "gradient_checkpointing": False,
        "final": "last",
        "trackers": [],
    },
    "SimFormerRecipe": {
        "backbone_weights": "trained",
        "classifier": "masks",
        "init_from": None,
        "pseudo_masks": {"short_sides": [], "mirrored": False, "min_pixels": 1},
    },
    "MaskFormerSettings": {"learned_start": False, "decoder_map": None},
    "SimFormerSettings": {"matching_classification": None, "multiple_instance": 0.0},
    "PartlyLabelledSource": {"unseen_share": None},
    "LabelledCropSettings": {"position_step": 1, "max_long_side": None},
    "StudentSettings": {"remembers": False},
    "GroupViTShape": {"content_start": False},
    "MaskSettings": {"map": "similarity"},
    "FinetuneRecipe": {"text_encoder": "all-minilm-l6-v2", "max_tokens": 25},
    "CaptionFilesRecipe": {"image_column": None, "caption_column": None, "key_column": None},
}


def with_new_names(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of one dataclass of settings with new names for old ones, and what was added since.

    Args:
        kind: The dataclass.
        values: Fields as JSON has them; what lies deeper is left as it is.
    """
    names = {old: new for each in kind.__mro__ for old, new in RENAMED.get(each.__name__, {}).items()}
    added = {name: value for each in kind.__mro__ for name, value in ADDED.get(each.__name__, {}).items()}
    return added | {names.get(name, name): value for name, value in values.items()}


def with_new_names_like(settings: Any, values: Any) -> Any:
    """Return plain values with new names at every depth.

    Args:
        settings: Settings that the values are compared with: what is a dataclass there is renamed.
        values: Plain values of settings of the same type.
    """
    if not is_dataclass(settings) or isinstance(settings, type) or not isinstance(values, dict):
        return values
    renamed = with_new_names(type(settings), values)
    return {
        name: with_new_names_like(getattr(settings, name, None), value) for name, value in renamed.items()
    }


def refuse_old_flags(arguments: Sequence[str]) -> None:
    """Refuse command line flags of settings that have another name now.

    Raises:
        InputError: There is one; the message says the new spelling.
    """
    names = {old: new for fields in RENAMED.values() for old, new in fields.items()}
    for argument in arguments:
        flag = argument.partition("=")[0]
        path, _, name = flag.rpartition(".")
        new = names.get(name.removeprefix("--").removeprefix("no-").replace("-", "_"))
        if flag.startswith("--") and new is not None:
            before = f"{path}." if path else "--"
            raise InputError(
                doing="reading the command line",
                found=f"{flag}, the old name of a setting",
                expected="the names that --help lists",
                fix=f"Write {before}{new.replace('_', '-')}.",
            )
