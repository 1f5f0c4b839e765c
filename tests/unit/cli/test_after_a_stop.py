"""What Ctrl-C promises is said by every command, and is what that command keeps."""

import pytest

import lexiseg.cli as cli

COMMANDS = sorted(cli.COMMANDS)


def test_every_command_says_what_a_stop_leaves():
    assert sorted(cli.AFTER_A_STOP) == COMMANDS


@pytest.mark.parametrize(
    ("command", "promise"),
    [
        ("segment", "the same command goes on from there"),
        ("retrain", "with --resume goes on"),
        ("captions", "begins again"),
        ("evaluate", "Nothing of it is kept; lexiseg predict"),
    ],
)
def test_a_stop_promises_what_is_true(monkeypatch, capsys, command, promise):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_main", stop)
    with pytest.raises(SystemExit) as stopped:
        cli.main([command])
    assert stopped.value.code == 130
    assert promise in capsys.readouterr().err
