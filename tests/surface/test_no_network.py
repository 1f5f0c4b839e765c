"""Nothing asks the network that was not asked to fetch: not an import, not a command, not a test.

Tests are watched by an audit hook in conftest.py. Here commands run without HF_HUB_OFFLINE, as on a person's machine.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = """
import os, sys
os.environ.pop("HF_HUB_OFFLINE", None)
asked = []
sys.addaudithook(lambda event, given: asked.append((event, given)) if event in WATCHED else None)

import lexiseg
from lexiseg.cli import COMMANDS, main

for arguments in (
    [], ["--version"], ["models"], ["doctor"], ["datasets"], ["protocols"], ["models", "mini"],
    ["segment", "absent.jpg", "--words", "cat", "--model", "mini", "--out", sys.argv[1]], ["train"],
):
    try:
        main(arguments)
    except SystemExit:
        pass
print("ASKED", asked, file=sys.__stdout__)
"""


@pytest.mark.exhaustive
def test_imports_and_commands_ask_nobody(tmp_path):
    watched = ("socket.connect", "socket.getaddrinfo", "socket.sendto")
    code = f"WATCHED = {watched!r}\n{COMMANDS}"
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hub"), "LEXISEG_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.rstrip().endswith("ASKED []"), done.stdout[-2000:]


def test_the_tests_themselves_are_watched():
    with pytest.raises(RuntimeError, match="a test asked the network"):
        socket.create_connection(("192.0.2.1", 80), timeout=0.1)
    with pytest.raises(RuntimeError, match="a test asked the network"):
        socket.getaddrinfo("example.invalid", 80)
    assert Path(__file__).exists()
