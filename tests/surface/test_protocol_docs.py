"""The pages about protocols and evaluation say what the code does."""

from dataclasses import fields
from pathlib import Path
from typing import get_args

from lexiseg.inference.settings import InferenceSettings
from lexiseg.metrics.iou import AVERAGES, METRICS, SPLIT_METRICS
from lexiseg.scoring.protocol import DESCRIPTIONS, Protocol
from lexiseg.scoring.published import PROTOCOLS, STEPS

PAGES = Path(__file__).parents[2] / "docs"
PAGE = PAGES / "protocols.md"

AVERAGED = {"occurs_or_predicted": "occur or predicted", "occurs": "occur", "all": "all, absent 0"}


def table() -> str:
    """Write the page's table from the protocols themselves."""
    rows = [
        "| Protocol | Classes | Background | Averaged | Names | Image | Prompts | Refine | Beyond the common path |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for protocol in PROTOCOLS.values():
        count = "any" if protocol.num_classes is None else str(protocol.num_classes)
        background = {"ignored": "ignored", "class": "scored", "as_labelled": "as labelled"}[
            protocol.true_background
        ]
        if "threshold" in protocol.inference:
            background += f", threshold {protocol.inference['threshold']:g}"
        if "min_probability" in protocol.inference:
            least, scale = protocol.inference["min_probability"], protocol.inference["logit_scale"]
            background += f", probability {least:g} at scale {scale:g}"
        if "min_area_share" in protocol.inference:
            background += f", classes above {protocol.inference['min_area_share']:.0%} of the foreground"
        averaged = AVERAGED[protocol.averaging]
        if protocol.boundary is not None:
            averaged += f", bands of {protocol.boundary:.0%}"
        if protocol.unseen:
            averaged += f", {len(protocol.unseen)} unseen"
        beyond = "; ".join(f"{STEPS[step]} (`{step}`)" for step in protocol.steps) or "–"
        cells = (
            count,
            background,
            averaged,
            protocol.names,
            image(protocol),
            protocol.inference.get("prompts", "–"),
            protocol.inference.get("refine", "–"),
            beyond,
        )
        rows.append(f"| `{protocol.name}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def image(protocol: Protocol) -> str:
    fixed = protocol.inference
    if "short_side" not in fixed:
        return "–"
    if not fixed["keep_aspect"]:
        return f"square of {fixed['short_side']}"
    if fixed["short_side"] == fixed["max_long_side"]:
        return f"long side {fixed['max_long_side']}"
    text = f"short side {fixed['short_side']}"
    if fixed["window"]:
        text += f", windows {fixed['window']} / {fixed['window_stride']}"
    return text


def test_the_pages_table_is_that_of_the_code():
    text = PAGE.read_text(encoding="utf-8")
    written = text.split("<!-- table of protocols -->")[1].split("<!-- end of table -->")[0].strip()
    assert written == table(), "the table in docs/protocols.md is not that of scoring/published.py"


def test_every_field_of_a_protocol_is_explained_on_the_page():
    text = PAGE.read_text(encoding="utf-8")
    for item in fields(Protocol):
        if item.name not in DESCRIPTIONS or item.name == "unknown":
            assert f"`{item.name}`" in text or item.name in ("classes", "num_classes", "names"), item.name


def test_every_protocol_that_fits_any_data_is_named_on_the_page():
    text = PAGE.read_text(encoding="utf-8")
    sentence = next(line for line in text.splitlines() if line.startswith("The house protocols"))
    assert sentence.split("`")[1::2] == [
        name for name, protocol in PROTOCOLS.items() if protocol.benchmark == "any"
    ]


def test_the_page_about_evaluation_names_every_score_as_the_code_does():
    text = (PAGES / "evaluation.md").read_text(encoding="utf-8")
    for metric in (*METRICS, *SPLIT_METRICS):
        convention = f" (`{name}`)" if (name := _protocol_of(metric.key)) else ""
        assert f"| `{metric.key}` | {metric.over}{convention} |" in text


def _protocol_of(key: str) -> str | None:
    """Give the house protocol that averages so."""
    averaging = next((how for how, metric in AVERAGES.items() if metric.key == key), None)
    wanted = ("mmseg", "present-only", "all-classes")
    return next((name for name in wanted if PROTOCOLS[name].averaging == averaging), None)


def test_ways_to_average_are_those_that_have_a_score():
    (averaging,) = (item.type for item in fields(Protocol) if item.name == "averaging")
    assert get_args(averaging) == tuple(AVERAGES)


def test_every_inference_setting_has_a_full_line():
    from lexiseg.cli.inference_options import attribute_lines

    lines = attribute_lines(InferenceSettings)
    assert list(lines) == [field.name for field in fields(InferenceSettings)]
    for name, line in lines.items():
        assert len(line.split()) >= 6, f"{name}: {line}"
        assert "See there" not in line
