"""What packages Lexiseg elsewhere says the same as pyproject.toml, and names files that are there."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: What conda calls packages that PyPI has under another name.
CONDA = {"torch": "pytorch", "huggingface-hub": "huggingface_hub"}


def test_the_conda_recipe_asks_for_what_the_package_asks_for():
    recipe = yaml.safe_load((ROOT / "packaging/recipe.yaml").read_text())
    assert recipe["context"]["version"] == PROJECT["version"]
    wanted = set()
    for line in PROJECT["dependencies"]:
        name, rest = re.fullmatch(r"([\w-]+)(.*)", line).groups()
        wanted.add(f"{CONDA.get(name, name)} {rest}")
    asked = set(recipe["requirements"]["run"])
    assert asked - wanted == {f"python {PROJECT['requires-python']}"}
    assert wanted <= asked
    assert recipe["about"]["license"] == PROJECT["license"]
    name, _, target = recipe["build"]["python"]["entry_points"][0].partition(" = ")
    assert PROJECT["scripts"][name] == target


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.graph"])
def test_a_dockerfile_copies_what_is_there_and_installs_extras_that_exist(name):
    text = (ROOT / "packaging" / name).read_text()
    for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE):
        *sources, _ = line.split()
        assert all((ROOT / source).exists() for source in sources)
    for extras in re.findall(r"\.\[([\w,]+)\]", text):
        assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    assert re.search(r"^USER \d+$", text, re.MULTILINE), "nothing runs as root"


@pytest.mark.parametrize(
    "path",
    sorted(set(re.findall(r"\]\((?!https?://|#)([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8")))),
)
def test_the_sdist_has_what_the_readme_links_to(path):
    for rule in (ROOT / "MANIFEST.in").read_text().splitlines():
        match rule.split():
            case ["include", name] if path == name:
                return
            case ["graft", folder] if f"{path}/".startswith(f"{folder}/"):
                return
            case ["recursive-include", folder, pattern] if path.startswith(f"{folder}/"):
                if Path(path).match(pattern):
                    return
    assert path in {"LICENSE", "NOTICE"}, "MANIFEST.in leaves it out"  # those setuptools takes by itself
