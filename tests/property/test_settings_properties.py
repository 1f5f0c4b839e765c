"""A setting stands once: a field of ``InferenceSettings`` is a flag, a choice of protocols, and a part of names.

Fields are taken from the class, so that a new one is tested without a line here.
"""

import subprocess
import sys
from dataclasses import fields, replace
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiseg.core.vocabulary import Vocabulary
from lexiseg.inference.settings import RANGES, InferenceSettings
from lexiseg.ops.prompts import PROMPT_SETS
from lexiseg.scoring.protocol import Protocol, effective_protocol

FIELDS = [field.name for field in fields(InferenceSettings)]
CLASSES = Vocabulary(names=("cat", "dog"))


def values_of(name: str) -> st.SearchStrategy[Any]:
    """Draw legal values of a setting from its type alone; names of prompt sets are the one exception."""
    (kind,) = (field.type for field in fields(InferenceSettings) if field.name == name)
    kinds = get_args(kind) if get_origin(kind) is UnionType else (kind,)
    if name in RANGES:
        return st.floats(0.125, RANGES[name].most or 100) | (st.none() if len(kinds) > 1 else st.nothing())
    return st.one_of([_of_type(one) for one in kinds])


def _of_type(kind: Any) -> st.SearchStrategy[Any]:
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    return {
        int: st.integers(1, 4096),
        float: st.floats(-10, 10),
        bool: st.booleans(),
        str: st.sampled_from(sorted(PROMPT_SETS)),
        type(None): st.none(),
    }[kind]


@st.composite
def legal(draw: st.DrawFn) -> dict[str, Any]:
    """Draw all settings of a run."""
    drawn = {name: draw(values_of(name)) for name in FIELDS}
    if drawn["window"] is not None and drawn["window_stride"] is not None:
        drawn["window_stride"] = min(drawn["window"], drawn["window_stride"])
    return drawn


def another(name: str) -> Any:
    """Give a legal value of a setting that is not its default, from its type alone."""
    default = getattr(InferenceSettings(), name)
    (kind,) = (field.type for field in fields(InferenceSettings) if field.name == name)
    kinds = get_args(kind) if get_origin(kind) is UnionType else (kind,)
    kind = next(one for one in kinds if one is not type(None))
    if get_origin(kind) is Literal:
        return next(choice for choice in get_args(kind) if choice != default)
    return {int: 7, float: 0.125, bool: not default, str: "bare"}[kind]


@settings(deadline=None, max_examples=100)
@given(legal(), legal(), st.sets(st.sampled_from(FIELDS)), st.lists(st.sampled_from("abc"), unique=True))
def test_a_run_never_carries_a_name_whose_choices_it_did_not_follow(fixed, run, names, applies):
    chosen = {name: fixed[name] for name in names}
    plain = Protocol(name="drawn", source="test")
    protocol = replace(plain, inference=chosen, steps=("a", "b"))
    found = effective_protocol(protocol, run | {"applies": applies}, CLASSES, CLASSES)
    differing = {name for name in names if run[name] != fixed[name]}
    left = [step for step in ("a", "b") if step not in applies]
    assert (found.name == protocol.name) == (not differing and not left)
    assert found.not_applied == tuple(left)
    parts = found.name.split("+")
    for name in differing:
        assert any(part.startswith(f"{name}=") for part in parts), (name, found.name)
    assert all(found.inference[name] == run[name] for name in names)
    forgotten = {name: value for name, value in run.items() if name not in names}
    known = {"tiles"} if fixed["tiles"] == "off" else set()  # a run from before there were tiles had none
    if names - known:
        unrecorded = effective_protocol(protocol, forgotten | {"applies": ["a", "b"]}, CLASSES, CLASSES)
        assert unrecorded.name != protocol.name


@pytest.mark.parametrize("name", FIELDS)
def test_a_setting_is_a_flag_with_help_and_a_choice_of_protocols(name, capsys):
    import tyro

    from lexiseg.cli.inference_options import InferenceOptions, flag_of

    other = another(name)
    options = tyro.cli(InferenceOptions, args=[flag_of(name), str(other)])
    assert options.changes() == {name: other}
    with pytest.raises(SystemExit):
        tyro.cli(InferenceOptions, args=["--help"])
    assert f"{flag_of(name)} " in capsys.readouterr().out
    assert Protocol(name=f"only-{name}", source="test", inference={name: other}).inference == {name: other}


def test_reading_the_help_of_inference_needs_no_torch():
    code = "import sys, lexiseg.cli.segment; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
