"""What messages and pages tell people to load loads: ids whose safetensors were seen, or that are converted just before."""

import re
from pathlib import Path

from lexiseg.models.hub_files import FILES_SEEN

ROOT = Path(__file__).parents[2]
TEXTS = [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]


def test_recommended_ids_have_weights_that_load():
    recommended, wrong = set(), set()
    for path in TEXTS:
        text = path.read_text(encoding="utf-8")
        for found in re.finditer(r"--(?:model|encoder) ([\w-]+/[\w.-]*\w)", text):
            name = found[1]
            recommended.add(name)
            seen = FILES_SEEN.get(name)
            loads = seen is not None and any(file.endswith(".safetensors") for file in seen.weights)
            is_converted = f"lexiseg convert {name}" in text[: found.start()]
            if name in FILES_SEEN and not loads and not is_converted:
                wrong.add((path.name, name))
    assert recommended & set(FILES_SEEN)
    assert not wrong
