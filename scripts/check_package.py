"""Build the wheel and the sdist in a scratch folder and check what is in them.

    python scripts/check_package.py

By setuptools as it is installed, without a network. Checked: every file of ``src/lexiseg`` that git knows is in the wheel
and nothing else; the sdist has them too, with what builds it and the pages that the README names; name, version, README
(without links that lead nowhere from there), licence and entry point stand in the metadata.
"""

import email
import re
import runpy
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
_BUILD = "from setuptools import build_meta as b; b.build_wheel({0!r}); b.build_sdist({0!r})"
#: What the metadata has to say, beside name and version.
_WANTED = (
    "Summary",
    "Requires-Python",
    "License-Expression",
    "Description-Content-Type",
    "Classifier",
    "Requires-Dist",
)


def main() -> int:
    """Build, check and print what is wrong; return the exit code."""
    known = subprocess.run(["git", "ls-files", "-z", "."], cwd=ROOT, capture_output=True, check=True).stdout
    files = [name for name in known.decode().split("\0") if name and (ROOT / name).is_file()]
    with tempfile.TemporaryDirectory() as scratch:
        copy, out = Path(scratch) / "copy", Path(scratch) / "out"
        out.mkdir()
        for name in files:  # what git knows: nothing that lies around here gets into a package
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
        built = subprocess.run(
            [sys.executable, "-c", _BUILD.format(str(out))],
            cwd=copy,
            capture_output=True,
            text=True,
            check=False,
        )
        if built.returncode:
            print(built.stdout, built.stderr, sep="\n", file=sys.stderr)
            return 1
        (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
        wrong = [*check_wheel(wheel, files), *check_sdist(sdist, files)]
        print("\n".join(wrong) or f"{wheel.name} {wheel.stat().st_size / 1e6:.1f} MB, {sdist.name}: complete")
    return 1 if wrong else 0


def check_wheel(wheel: Path, files: list[str]) -> list[str]:
    """Return what is wrong with a wheel."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    with zipfile.ZipFile(wheel) as opened:
        there = {name for name in opened.namelist() if not name.endswith("/")}
        info = next(name.partition("/")[0] for name in there if ".dist-info/" in name)
        metadata = email.message_from_bytes(opened.read(f"{info}/METADATA"))
        entry_points = opened.read(f"{info}/entry_points.txt").decode()
    wanted = {name.removeprefix("src/") for name in files if name.startswith("src/lexiseg/")}
    packaged = {name for name in there if not name.startswith(info)}
    wrong = [f"the wheel lacks {name}" for name in sorted(wanted - packaged)]
    wrong += [f"the wheel has {name}, which git does not know" for name in sorted(packaged - wanted)]
    wrong += [f"the metadata lack {name}" for name in _WANTED if not metadata.get(name)]
    wrong += [
        f"the metadata say {key} {metadata[key]!r}"
        for key in ("Name", "Version")
        if metadata[key] != project[key.lower()]
    ]
    readme = runpy.run_path(str(ROOT / "setup.py"))["readme_of_index"](README.read_text(encoding="utf-8"))
    if readme.strip() not in bytes(metadata.get_payload(decode=True)).decode().replace("\r\n", "\n"):
        wrong.append("the description is not that of README.md")
    if "lexiseg = lexiseg.cli:main" not in entry_points:
        wrong.append("the wheel has no command lexiseg")
    return wrong


def check_sdist(sdist: Path, files: list[str]) -> list[str]:
    """Return what is wrong with an sdist: it has to build by itself."""
    with tarfile.open(sdist) as opened:
        there = {name.partition("/")[2] for name in opened.getnames()}
    wanted = {name for name in files if name.startswith("src/lexiseg/")} | {
        "pyproject.toml",
        "setup.py",
        "README.md",
        *re.findall(r"\]\((?!https?://|#)([^)#]+)", README.read_text(encoding="utf-8")),
        "LICENSE",
        "NOTICE",
    }
    return [f"the sdist lacks {name}" for name in sorted(wanted - there)]


if __name__ == "__main__":
    raise SystemExit(main())
