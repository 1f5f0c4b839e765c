import os
import sys
from pathlib import Path

import pytest

from lexiseg.core.cache_folder import default_cache, make_private
from lexiseg.core.errors import OutputError


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


@pytest.mark.skipif(os.name == "nt", reason="permissions are POSIX's")
def test_a_new_folder_is_its_owners_alone_and_an_old_one_stays(tmp_path):
    folder = tmp_path / "a/new"
    make_private(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o750)
    make_private(folder)
    assert folder.stat().st_mode & 0o777 == 0o750
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        make_private(tmp_path / "file/below")
