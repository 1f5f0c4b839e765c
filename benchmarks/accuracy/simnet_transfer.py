"""Does SimNet know of classes it never saw a mask of whether two pixels show the same one?

Run from the repository root, with trained runs of simformer/scenes with a SimNet::

    python benchmarks/accuracy/simnet_transfer.py RUN [RUN ...]

Writes simnet_transfer.json beside this file: for pixels of two held-out scenes each, the area under the curve of
SimNet's similarity (0.5 is chance) for pairs of seen and for pairs of unseen classes, and mean similarities.
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "speed"))

from timing import machine  # noqa: E402

from lexiseg.data.transforms import resize_image  # noqa: E402
from lexiseg.methods.simformer.model import SimFormer  # noqa: E402
from lexiseg.recipes.simformer import SimFormerRecipe  # noqa: E402
from lexiseg.runs.folder import load_run, read_recipe  # noqa: E402

NUM_PAIRS, POINTS = 100, 48


@torch.inference_mode()
def measure(folder: Path) -> dict[str, object]:
    """Compare random pixels of scenes 2p and 2p + 1 as the teacher does."""
    recipe, model = read_recipe(folder)[1], load_run(folder)
    assert isinstance(recipe, SimFormerRecipe)
    assert isinstance(model, SimFormer)
    assert model.pair_losses is not None, f"{folder} has no SimNet"
    simnet, vocabulary = model.pair_losses.simnet.eval(), model.vocabulary
    seen = np.isin(np.arange(len(vocabulary)), sorted(vocabulary.seen or ()))
    rng, images = np.random.default_rng(0), recipe.data.scored_images()
    same, similarity = defaultdict(list), defaultdict(list)
    for pair in range(min(NUM_PAIRS, len(images) // 2)):
        drawn = [_points(model, images[2 * pair + side], len(vocabulary), rng) for side in (0, 1)]
        (first, labels), (second, others) = drawn
        found = simnet(first[None], second[None]).sigmoid()[0].numpy()
        alike = labels[:, None] == others
        for kind, rows, columns in (
            ("seen", seen[labels], seen[others]),
            ("unseen", ~seen[labels], ~seen[others]),
        ):
            same[kind] += alike[rows][:, columns].flatten().tolist()
            similarity[kind] += found[rows][:, columns].flatten().tolist()
        for label in np.unique(labels):
            both = found[labels == label][:, others == label]
            similarity[vocabulary.names[label]] += both.flatten().tolist()
    return {
        "steps": recipe.run.num_steps,
        "unlabelled_differ": recipe.method.unlabelled_differ,
        "distillation": recipe.method.distillation,
        "num_seen": int(seen.sum()),
        "num_unseen": int((~seen).sum()),
        "area_under_curve": {kind: round(roc_auc_score(same[kind], similarity[kind]), 3) for kind in same},
        "similarity_of_same_class": {
            f"{name} ({'seen' if seen[label] else 'unseen'})": round(float(np.mean(similarity[name])), 3)
            for label, name in enumerate(vocabulary.names)
            if similarity[name]
        },
    }


def _points(model, sample, num_classes: int, rng: np.random.Generator) -> tuple[torch.Tensor, np.ndarray]:
    """Draw labelled pixels of a scene: embeddings ``J D`` and labels ``J``."""
    height, width = sample.image.shape[:2]
    pixels = resize_image(sample.image, (height, width))[None]
    embeddings = model.network(pixels, last_only=True).pixel_embeddings[0]
    stride = height // embeddings.shape[1]
    labels = sample.label_map[stride // 2 :: stride, stride // 2 :: stride].astype(int).flatten()
    chosen = rng.permutation(np.flatnonzero(labels < num_classes))[:POINTS]
    return embeddings.flatten(1).T[chosen], labels[chosen]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    found = [measure(run) for run in parser.parse_args().runs]
    print(json.dumps(found, indent=1))
    facts = {"command": "python benchmarks/accuracy/simnet_transfer.py RUN RUN", **machine()}
    (HERE / "simnet_transfer.json").write_text(json.dumps({**facts, "runs": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
