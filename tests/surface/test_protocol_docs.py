"""The page about protocols says what the code does."""

from pathlib import Path

from lexiseg.scoring.protocol import Protocol
from lexiseg.scoring.published import PROTOCOLS

PAGE = Path(__file__).parents[2] / "docs" / "protocols.md"

AVERAGED = {"occurs_or_predicted": "occur or predicted", "occurs": "occur", "all": "all, absent 0"}


def table() -> str:
    """Write the page's table from the protocols themselves."""
    rows = [
        "| Protocol | Classes | Background | Averaged | Names | Picture | Prompts | Not run by the shared path |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for protocol in PROTOCOLS.values():
        count = "any" if protocol.num_classes is None else str(protocol.num_classes)
        background = {"ignored": "ignored", "class": "scored", "as_labelled": "as labelled"}[
            protocol.true_background
        ]
        if protocol.threshold is not None:
            background += f", threshold {protocol.threshold:g}"
        averaged = AVERAGED[protocol.averaging]
        if protocol.boundary is not None:
            averaged += f", bands of {protocol.boundary:.0%}"
        if protocol.unseen:
            averaged += f", {len(protocol.unseen)} unseen"
        beyond = "; ".join(protocol.beyond) or "–"
        cells = (
            count,
            background,
            averaged,
            protocol.names,
            picture(protocol),
            protocol.prompts or "–",
            beyond,
        )
        rows.append(f"| `{protocol.name}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def picture(protocol: Protocol) -> str:
    if protocol.short_side is None:
        return "–"
    if protocol.short_side == protocol.max_long_side:
        return f"long side {protocol.max_long_side}"
    text = f"short side {protocol.short_side}"
    if protocol.window:
        text += f", windows {protocol.window} / {protocol.window_stride}"
    return text


def test_the_pages_table_is_that_of_the_code():
    text = PAGE.read_text(encoding="utf-8")
    written = text.split("<!-- table of protocols -->")[1].split("<!-- end of table -->")[0].strip()
    assert written == table(), "the table in docs/protocols.md is not that of inference/protocol_table.py"


def test_every_field_of_a_protocol_is_explained_on_the_page():
    text = PAGE.read_text(encoding="utf-8")
    for word in (
        "beyond",
        "uncertain",
        "absent_unseen",
        "true_background",
        "averaging",
        "boundary",
        "imagenet_s",
    ):
        assert f"`{word}`" in text, word
