"""The card of a packed model: what it is, how to use it, its numbers, of what it is made and what it learnt from."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lexiseg.models.weight_facts import OWN_WEIGHTS
from lexiseg.runs.licences import OWN_SOURCE, Part, say_data, strictest

#: Names of the hub's list of licences for ours.
_HUB_NAMES = {"Apache-2.0": "apache-2.0", "MIT": "mit", "BSD-3-Clause": "bsd-3-clause", "CC0-1.0": "cc0-1.0",
              "CC-BY-4.0": "cc-by-4.0", "CC-BY-NC-4.0": "cc-by-nc-4.0"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CardScore:
    """A number of a card.

    Attributes:
        dataset: What was scored on.
        split: Its split.
        protocol: Name of the protocol.
        metric: Key of the measure.
        value: In [0, 1].
        low: Lower end of the 95 % interval over images; None where there is none.
        high: Upper end.
        num_images: Images scored.
    """

    dataset: str
    split: str
    protocol: str
    metric: str
    value: float
    low: float | None
    high: float | None
    num_images: int


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a card says.

    Attributes:
        name: Of the model.
        kind: What it was packed from.
        parts: Of what it is made.
        licence: Of the weights that were trained, as an SPDX name; None where it was not said.
        data: Facts of the data it learnt from; None where they are not known.
        command: That trained it; empty where it is not known.
        validation: What the last evaluation of the training found, by measure.
        scores: Of reports.
    """

    name: str
    kind: str
    parts: tuple[Part, ...]
    licence: str | None
    data: Any
    command: str
    validation: Mapping[str, float]
    scores: tuple[CardScore, ...]


def card_text(card: Card) -> str:
    """Return a card as the hub reads it: facts for machines between dashes, then Markdown."""
    return f"---\n{_metadata(card)}\n---\n\n{_text(card)}"


def _metadata(card: Card) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="image-segmentation",
            dataset_type=score.dataset,
            dataset_name=score.dataset,
            dataset_split=score.split or None,
            metric_type=score.metric,
            metric_name=f"{score.metric} ({score.protocol})",
            metric_value=round(score.value, 6),
        )
        for score in card.scores
    ]
    most = strictest(card.parts).licence if card.licence is None else card.licence
    known = _HUB_NAMES.get(most)
    licence: dict[str, Any] = {"license": known} if known else {"license": "other", "license_name": most}
    return ModelCardData(
        **licence,
        library_name="lexiseg",
        pipeline_tag="image-segmentation",
        tags=["semantic-segmentation", "lexiseg", "model_hub_mixin", "pytorch_model_hub_mixin"],
        **({"model_name": card.name, "eval_results": results} if results else {}),
    ).to_yaml()


def _text(card: Card) -> str:
    made = {"run": "trained with `lexiseg train`", "head": "fitted with `lexiseg fit`"}
    lines = [
        f"# {card.name}",
        "",
        f"A model for semantic segmentation, {made.get(card.kind, 'a published checkpoint')}, for "
        "Lexiseg. It labels every pixel of a photograph.",
        "",
        "```python",
        "import lexiseg",
        "",
        f'model = lexiseg.load("{card.name}")  # this folder',
        'model.segment("photo.jpg"' + (")" if card.kind == "head" else ', "cat, grass, sky")'),
        "```",
        "",
        "## Numbers",
        "",
        *_numbers(card),
        "",
        "## Training",
        "",
        f"Data: {say_data(card.data) if card.data else 'see the parts below'}.",
    ]
    if card.command:
        lines += ["", "```", card.command, "```"]
    lines += [
        "",
        "## Parts and licences",
        "",
        "| Part | Licence | Source | Trained on |",
        "|---|---|---|---|",
        *(
            f"| {_part_name(part, card)} | {_licence(part, card)} | {part.source} | {part.trained_on} |"
            for part in card.parts
        ),
        "",
        "Licences are those of weights; images and texts that they were trained on have licences of their own.",
    ]
    return "\n".join(lines) + "\n"


def _part_name(part: Part, card: Card) -> str:
    """Return what a part is called where the machine it was made on is not known."""
    if part.source == OWN_SOURCE:
        return card.name
    return Path(part.name).name if os.path.isdir(part.name) else part.name


def _licence(part: Part, card: Card) -> str:
    if part.licence != OWN_WEIGHTS:
        return part.licence
    return card.licence or "not stated by whoever trained it"


def _numbers(card: Card) -> list[str]:
    lines = []
    if card.scores:
        lines += [
            "| Data | Split | Protocol | Measure | % | 95 % interval | Images |",
            "|---|---|---|---|---|---|---|",
        ]
        for score in card.scores:
            interval = (
                ""
                if score.low is None or score.high is None
                else f"{100 * score.low:.1f} to {100 * score.high:.1f}"
            )
            lines.append(
                f"| {score.dataset} | {score.split} | {score.protocol} | {score.metric} | {100 * score.value:.1f} "
                f"| {interval} | {score.num_images:,} |"
            )
        lines += ["", "Intervals are over images, by resampling."]
    if card.validation:
        shares = [f"{name} {100 * value:.1f} %" for name, value in card.validation.items() if 0 <= value <= 1]
        said = f"At the end of training, on its validation images, without an interval: {', '.join(shares)}."
        lines += ["", said] if lines else [said]
    return lines or ["It was not scored: `lexiseg evaluate` does, and `--report` puts the numbers here."]
