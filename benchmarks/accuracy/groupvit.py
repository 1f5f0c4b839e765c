"""Train ``groupvit/scenes`` and measure its masks beside floors: an untrained network, and no segments at all."""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lexiseg.data.scenes import SceneDataset
from lexiseg.engine.seeding import seed_all
from lexiseg.layers.grouping import soft_assignment
from lexiseg.methods.groupvit.segmenter import GroupViT
from lexiseg.metrics.confusion import ConfusionMatrix
from lexiseg.metrics.iou import compute_scores
from lexiseg.recipes.groupvit import SceneGroupViTRecipe, scenes
from lexiseg.runs.train import train_recipe
from lexiseg.scoring.evaluate import evaluate


@torch.inference_mode()
def whole_image(model: GroupViT, dataset: SceneDataset) -> float:
    """Mean IoU where every pixel gets the class that the image as a whole is most similar to."""
    names = list(dataset.vocabulary.names)
    texts = model.embed_texts(names, "single")
    confusion = ConfusionMatrix(len(names))
    for sample in dataset:
        pixels = torch.from_numpy(sample.image).permute(2, 0, 1)[None].float() / 255
        best = int((model.encode_images(pixels).global_token @ texts.T).argmax())
        confusion.update(sample.label_map, np.full_like(sample.label_map, best))
    return mean(compute_scores(confusion).iou)


def masks(model: GroupViT, dataset: SceneDataset) -> float:
    """Mean IoU of the model's own label maps."""
    return mean(evaluate(model, dataset, background="none").scores.iou)


@torch.inference_mode()
def certainty(model: GroupViT, dataset: SceneDataset) -> float:
    """Mean share of a patch in its best group of the first grouping; one over the groups where nothing is decided."""
    image = (
        torch.from_numpy(np.stack([dataset[index].image for index in range(64)])).permute(0, 3, 1, 2) / 255
    )
    encoder = model.image_encoder
    logits = encoder.vision_model(encoder.normalisation(image))[1][0]
    return float(soft_assignment(logits).amax(1).mean())


def mean(ious: object) -> float:
    return float(np.nanmean(np.asarray(ious)))


def measure(recipe: SceneGroupViTRecipe, dataset: SceneDataset) -> dict[str, float]:
    """Train by a recipe and measure the first and the last weights."""
    seed_all(recipe.run.seed, "weights")
    untrained = recipe.build_model().eval()
    with tempfile.TemporaryDirectory() as folder:
        trained = train_recipe("groupvit/scenes", recipe=recipe, out=Path(folder) / "run", quiet=True)
        log = (Path(folder) / "run" / "log.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in log if '"loss"' in line]
    return {
        "seed": recipe.run.seed,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "untrained_mean_iou": masks(untrained, dataset),
        "whole_image_mean_iou": whole_image(trained, dataset),
        "mean_iou": masks(trained, dataset),
        "untrained_certainty": certainty(untrained, dataset),
        "certainty": certainty(trained, dataset),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--num-scenes", type=int, default=300)
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = scenes()
    dataset = SceneDataset(recipe.data, options.num_scenes)
    rows = []
    for seed in options.seeds:
        run = replace(recipe.run, num_steps=options.num_steps, seed=seed, device="cpu")
        rows.append(measure(replace(recipe, run=run, num_scenes=1), dataset))
        print(rows[-1], flush=True)
    command = f"python benchmarks/accuracy/groupvit.py --num-steps {options.num_steps} --seeds " + " ".join(
        map(str, options.seeds)
    )
    content = {
        "command": command,
        "batch_size": recipe.run.batch_size,
        "num_scenes": options.num_scenes,
        "torch": torch.__version__,
        "rows": rows,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
