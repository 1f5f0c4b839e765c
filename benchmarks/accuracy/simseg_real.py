"""Train simseg/finetune on real photographs whose captions are the names of what is in them; writes simseg_real.json.

    python benchmarks/accuracy/simseg_real.py --train FOLDER … --test FOLDER … --out RUN --encoder dinov2-small

FOLDERs have classes.txt, images/ and labels/. A caption is made of the names in an image's label map ("a photo of a dog, a
person and grass"); no mask is seen in training. Honest and small: it shows whether the parts work together on photographs,
not what SimSeg can do. The image encoder is frozen. Beside the trained model: the same before the first step, and a map of
plain saliency. Rows of other encoders and seeds stay in the JSON.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from machine import machine  # noqa: E402

from lexiseg.core.batch import Sample  # noqa: E402
from lexiseg.core.json_text import read_json_file  # noqa: E402
from lexiseg.data.folder import FolderDataset  # noqa: E402
from lexiseg.engine.seeding import seed_all  # noqa: E402
from lexiseg.engine.settings import RunSettings  # noqa: E402
from lexiseg.methods.simseg.localisation import similarity_mass  # noqa: E402
from lexiseg.methods.simseg.segmenter import SimSeg  # noqa: E402
from lexiseg.metrics.retrieval import retrieval_recall  # noqa: E402
from lexiseg.recipes.simseg_finetune import finetune  # noqa: E402
from lexiseg.runs.train import train_recipe  # noqa: E402
from lexiseg.scoring.image_text import embed_pairs  # noqa: E402

#: A smaller part of an image is not worth a word.
LEAST_SHARE = 0.02


def caption(sample: Sample, names: tuple[str, ...]) -> str:
    """Name what is in an image, the largest first, at most five."""
    assert sample.label_map is not None
    labels, counts = np.unique(sample.label_map[sample.label_map < len(names)], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    found = [names[labels[at]] for at in order if counts[at] >= LEAST_SHARE * sample.label_map.size][:5]
    return f"a photo of {', '.join(found)}" if found else ""


def write_captions(folders: list[Path], out: Path) -> None:
    """Write images/ (links) and captions.tsv."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    lines = []
    for folder in folders:
        data = FolderDataset(folder, labels="only")
        for sample in data:
            text = caption(sample, data.vocabulary.names)
            link = out / "images" / f"{folder.name}-{sample.source.name}"
            link.unlink(missing_ok=True)
            if text:
                link.symlink_to(sample.source.resolve())
                lines.append(f"{link.stem}\t{text}\n")
    (out / "captions.tsv").write_text("".join(lines))


def measure(model: SimSeg, folders: list[Path]) -> dict[str, float]:
    """Measure places, which is which and retrieval on held-out photographs, a mean over all maps of all folders."""
    found: dict[str, list[float]] = {}
    samples = []
    for folder in folders:
        data = FolderDataset(folder, labels="only")
        place = similarity_mass(model, data, data.vocabulary)
        for name in ("mask_energy", "area_baseline", "map_offset", "which_is_which", "chance"):
            found.setdefault(name, []).extend([getattr(place, name)] * place.num_maps)
        named = ((sample, caption(sample, data.vocabulary.names)) for sample in data)
        samples += [replace(sample, captions=(text,)) for sample, text in named if text]
    pairs = embed_pairs(model, samples)
    recall = retrieval_recall((pairs.images @ pairs.texts.T).numpy(), pairs.image_of_text.numpy())
    means = {name: float(np.mean(values)) for name, values in found.items()}
    return means | {"image_to_text_5": recall.image_to_text[5], "num_images": float(len(samples))}


def main() -> None:
    """Read the command line, train, measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", type=Path, nargs="+", required=True)
    parser.add_argument("--test", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--encoder", default="efficientnet-lite0")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--side", type=int, default=160)
    arguments = parser.parse_args()
    data = arguments.out / "captions"
    write_captions(arguments.train, data)
    file = HERE / "simseg_real.json"
    content = read_json_file(file) if file.is_file() else {"encoders": {}}
    for seed in arguments.seeds:
        rows = of_seed(arguments, data, seed)
        print(seed, json.dumps(rows, indent=1), flush=True)
        facts = {"side": arguments.side, "steps": arguments.steps, "seeds": {}, **machine()}
        kept = content["encoders"].get(arguments.encoder, facts)
        same = all(kept[name] == facts[name] for name in ("side", "steps"))
        seeds = (kept["seeds"] if same else {}) | {str(seed): rows}
        content["encoders"][arguments.encoder] = facts | {"seeds": seeds}
        file.write_text(json.dumps(content, indent=1) + "\n")


def of_seed(arguments: argparse.Namespace, data: Path, seed: int) -> dict[str, dict[str, float]]:
    """Train once and measure before and after."""
    recipe = replace(
        finetune(),
        captions=data,
        image_encoder=arguments.encoder,
        image_rate=0.0,
        image_side=arguments.side,
        test_side=arguments.side,
        run=RunSettings(num_steps=arguments.steps, batch_size=32, log_every=5, save_every=20, seed=seed),
    )
    seed_all(recipe.run.seed, "weights")
    rows = {"before training": measure(recipe.build_model().eval(), arguments.test)}
    run = arguments.out / f"{arguments.encoder}-{arguments.steps}-{seed}"
    model = train_recipe("simseg/finetune", recipe=recipe, out=run, resume=run.exists(), quiet=True)
    assert isinstance(model, SimSeg)
    for kind in ("similarity", "contrasted", "saliency"):
        model.method = replace(model.method, masks=replace(model.method.masks, map=kind))
        rows[f"trained, {kind}"] = measure(model, arguments.test)
    return rows


if __name__ == "__main__":
    main()
