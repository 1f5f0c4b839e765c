"""What a person typed before fails with what to type now."""

import pytest

from lexiseg.cli import main
from lexiseg.cli.retired_options import RETIRED_OPTIONS


@pytest.mark.parametrize("option", ["--references", "--proposer", "--missing-words"])
@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize(
    ("command", "model"),
    [
        (("segment", "a.jpg", "--model", "rim", "--words", "cat"), "Write --model GIVEN, without"),
        (("evaluate", "rim", "--data", "folder"), "Write lexiseg evaluate GIVEN …, without"),
        (("predict", "rim", "--data", "folder"), "Write lexiseg predict GIVEN …, without"),
    ],
)
def test_an_option_of_an_earlier_version_names_the_new_spelling(command, model, option, joined, capsys):
    given = [f"{option.replace('-words', '_words')}=GIVEN"] if joined else [option, "GIVEN"]
    with pytest.raises(SystemExit) as stopped:
        main([*command, *given])
    assert stopped.value.code == 2
    doing, found, expected, to_do = capsys.readouterr().err.splitlines()
    assert doing == f"error: reading the options of lexiseg {command[0]}"
    assert found.endswith(f"{option} GIVEN, an option of an earlier version")
    assert "expected" in expected
    now = {"--proposer": "--set proposer=GIVEN", "--missing-words": "--set missing_words=GIVEN"}
    assert now.get(option, model) in to_do


@pytest.mark.parametrize(
    ("command", "option", "now"),
    [
        (("references", "build"), "--pictures", "--images"),
        (("classify", "mini"), "--pictures", "--images"),
        (("score", "store"), "--picture", "--plot"),
        (("captions", "check", "folder"), "--picture", "--image"),
    ],
)
def test_pictures_are_images(command, option, now, capsys):
    assert option in RETIRED_OPTIONS or f"{command[0]} {option}" in RETIRED_OPTIONS
    with pytest.raises(SystemExit) as stopped:
        main([*command, option, "GIVEN"])
    assert stopped.value.code == 2
    assert f"Write {now} GIVEN." in capsys.readouterr().err


def test_an_option_without_its_value_is_answered_too(capsys):
    with pytest.raises(SystemExit):
        main(["segment", "a.jpg", "--references"])
    assert "Write --model VALUE" in capsys.readouterr().err
