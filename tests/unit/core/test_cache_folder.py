import os
import sys
from pathlib import Path

import pytest

from lexiseg.core.cache_folder import default_cache


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="the XDG folders are Linux's")
def test_the_cache_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("LEXISEG_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_cache() == Path("/home/someone/.cache/lexiseg")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_cache() == Path("/xdg/lexiseg")
    monkeypatch.setenv("LEXISEG_CACHE", "/mine")
    assert default_cache() == Path("/mine")


@pytest.mark.parametrize("name", ["LEXISEG_CACHE", "XDG_CACHE_HOME"])
def test_a_tilde_is_the_users_folder(monkeypatch, tmp_path, name):
    for other in ("LEXISEG_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv(name, "~/x")
    assert default_cache() == tmp_path / ("x" if name == "LEXISEG_CACHE" else "x/lexiseg")
