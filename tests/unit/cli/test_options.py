"""Options for inference are checked before a model is loaded."""

import pytest

from lexiseg.cli import main
from lexiseg.cli.inference_options import InferenceOptions
from lexiseg.core.errors import InputError


def test_only_named_options_are_changes():
    options = InferenceOptions(max_long_side=900, synonyms="mean")
    assert options.changes() == {"max_long_side": 900, "synonyms": "mean"}


@pytest.mark.parametrize("given", [{"prompts": "nope"}, {"short_side": 0}, {"window": 8, "window_stride": 9}])
def test_an_unusable_option_is_refused_at_once(given):
    with pytest.raises(InputError):
        InferenceOptions(**given)


@pytest.mark.parametrize(
    ("option", "value", "part"),
    [
        ("--prompts", "nope", "prompt set 'nope'"),
        ("--threshold", "nan", "threshold = nan"),
        ("--max-long-side", "0", "max_long_side = 0"),
    ],
)
def test_the_command_line_says_so_without_loading_a_model(option, value, part, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("lexiseg.runs.load.load", lambda *_, **__: pytest.fail("a model was loaded"))
    with pytest.raises(SystemExit) as stopped:
        main(["segment", str(tmp_path), "--words", "cat", option, value])
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    assert part in " ".join((captured.out + captured.err).replace("│", " ").split())
