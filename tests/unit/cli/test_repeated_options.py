import pytest

from lexiseg.cli import _with_home, main
from lexiseg.cli.repeated_options import refuse_repeated
from lexiseg.core.errors import InputError


@pytest.mark.parametrize(
    "arguments",
    [
        ["a.jpg", "--words", "cat", "--words", "dog"],
        ["a.jpg", "--words=cat", "--words", "dog"],
        ["--classes-file", "a", "--classes_file", "b"],
        ["store", "--protocol", "mmseg", "--protocol", "boundary"],
        ["simseg/tiny", "--optim.lr", "1", "--optim.lr", "2"],
    ],
)
def test_an_option_given_twice_is_refused(arguments):
    with pytest.raises(InputError, match="2 times; expected every option once"):
        refuse_repeated(arguments)


@pytest.mark.parametrize(
    "arguments", [["--set", "a=1", "--set", "b=2"], ["--words", "a", "--", "--words"], ["--a", "--b"], []]
)
def test_others_pass(arguments):
    refuse_repeated(arguments)


def test_the_command_says_it(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["segment", "a.jpg", "--words", "cat", "--words", "dog"])
    assert "--words 2 times" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "place"),
    [
        ("--out=~/x", "--out=HOME/x"),
        ("~/x", "HOME/x"),
        ("~x", "~x"),
        ("--words=a~/b", "--words=a~/b"),
        ("a=~/b", "a=~/b"),
    ],
)
def test_home_is_put_in_where_a_shell_does_not(monkeypatch, argument, place):
    monkeypatch.setenv("HOME", "HOME")
    assert _with_home(argument) == place
