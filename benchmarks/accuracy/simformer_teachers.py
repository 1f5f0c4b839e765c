"""What a teacher knows of classes it never saw a mask of, by the number of classes that it did see.

Run from the repository root (``lexiseg models --get dinov2-small`` first)::

    python benchmarks/accuracy/simformer_teachers.py --from CUTOUTS

In the world ``many`` of simformer_frozen.py (60 things and 4 stuffs) at 224×224 pixels, SimNet learns by the paper's rule
on frozen DINOv2 patches, their first 128 principal components at unit variance each (whitened), from the masks of 48 and of
6 classes; nothing else is trained. The things without masks at 48 are without masks at 6 too, and on patches of these
alone, in different held-out scenes, the teachers are compared: area under the curve of "same class" (0.5 is chance). Two
cosines learn nothing from masks: of the patches as they come, and of the whitened ones, which SimNet sees. ``--pairs
two-masks`` leaves out the pairs of a pixel with a mask and one without, which the paper's rule calls different. Writes
simformer_teachers.json beside this file; rows of other seeds, steps and pairs stay.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from sklearn.metrics import roc_auc_score
from torch import Tensor

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from machine import machine  # noqa: E402
from simformer_worlds import WORLDS, scene_folder  # noqa: E402

from lexiseg.core.batch import Batch  # noqa: E402
from lexiseg.core.json_text import read_json_file  # noqa: E402
from lexiseg.data.labelled_dataset import LabelledDataset  # noqa: E402
from lexiseg.data.partial_labels.batches import PairingTable  # noqa: E402
from lexiseg.data.transforms import resize_image  # noqa: E402
from lexiseg.inference.feature_cache import CachedEncoder  # noqa: E402
from lexiseg.layers.simnet import as_teacher  # noqa: E402
from lexiseg.losses.similarity_transfer import centred_cosine  # noqa: E402
from lexiseg.methods.simformer.pair_losses import PairLosses  # noqa: E402
from lexiseg.methods.simformer.settings import SimFormerSettings  # noqa: E402
from lexiseg.models.dinov2 import load_dinov2  # noqa: E402
from lexiseg.models.hub import resolve_checkpoint  # noqa: E402
from lexiseg.models.maskformer import MaskFormerOutput  # noqa: E402
from lexiseg.recipes.partial_labels import FOLDER, WeakShotSource  # noqa: E402

#: Of the 64 classes, those without masks: 48 and 6 are left.
SHARES = (0.25, 0.906)
BATCH_SIZE, WIDTH = 8, 128
#: Side of the scenes in pixels: 16 patches.
SIZE = 224
#: Patches of the held-out scenes that are compared.
MOST = 600


class Patches(NamedTuple):
    """Frozen patches of all images, and labels at their centres with the number of classes for void."""

    maps: Float[Tensor, "N D h w"]
    labels: Int64[Tensor, "N h w"]


def patches_of(data: LabelledDataset, encoder: CachedEncoder) -> Patches:
    """Encode every image once; labels are those that the data set shows."""
    maps, labels, num_classes = [], [], len(data.vocabulary)
    for sample in data:
        with torch.inference_mode():
            found = encoder(resize_image(sample.image, sample.image.shape[:2])[None]).as_map()[0]
        maps.append(found.clone())
        assert sample.label_map is not None
        stride = sample.label_map.shape[0] // found.shape[1]
        centres = sample.label_map[stride // 2 :: stride, stride // 2 :: stride].astype(np.int64)
        labels.append(torch.from_numpy(centres).clamp(max=num_classes))
    return Patches(torch.stack(maps), torch.stack(labels))


def components(maps: Float[Tensor, "N D h w"]) -> tuple[Tensor, Tensor]:
    """Return the mean and the first ``WIDTH`` principal components of all patches, each scaled to unit variance."""
    flat = maps.transpose(0, 1).flatten(1).T
    mean = flat.mean(dim=0)
    _, sizes, axes = torch.linalg.svd(torch.cov((flat - mean).T))
    return mean, axes[:WIDTH].T / sizes[:WIDTH].sqrt()


def project(maps: Float[Tensor, "N D h w"], by: tuple[Tensor, Tensor]) -> Float[Tensor, "N C h w"]:
    """Write patches in the components."""
    return torch.einsum("ndhw,dc->nchw", maps - by[0][:, None, None], by[1])


def train_simnet(
    source: WeakShotSource, patches: Patches, seed: int, num_steps: int, *, unlabelled_differ: bool
) -> PairLosses:
    """Train SimNet as a SimFormer would, on patches that do not change."""
    masked = source.masked_labels(seed)
    num_classes = len(masked.vocabulary)
    hidden = torch.isin(patches.labels, torch.tensor(sorted(masked.unseen)))
    labels = patches.labels.masked_fill(hidden, num_classes)
    pairs = PairingTable(
        [known.tags & masked.unseen for known in masked.known],
        [known.with_mask for known in masked.known],
        num_classes,
    )
    tags = torch.zeros(len(labels), num_classes, dtype=torch.bool)
    for row, known in enumerate(masked.known):
        tags[row, sorted(known.tags)] = True
    torch.manual_seed(seed)
    settings = SimFormerSettings(num_points=32, unlabelled_differ=unlabelled_differ)
    losses = PairLosses(WIDTH, frozenset(masked.unseen), settings).train()
    optimizer = torch.optim.AdamW(losses.parameters(), lr=1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, num_steps, power=0.9)
    rng = np.random.default_rng(seed)
    for _ in range(num_steps):
        first = rng.permutation(len(labels))[: BATCH_SIZE // 2].tolist()
        rows = torch.tensor([index for one in first for index in (one, pairs.draw(one, rng))])
        batch = Batch(
            images=torch.zeros(BATCH_SIZE, 3, 1, 1, dtype=torch.uint8),
            sources=("patches",) * BATCH_SIZE,
            label_maps=labels[rows],
            tags=tags[rows],
        )
        maps = patches.maps[rows]
        output = MaskFormerOutput(
            pixel_embeddings=maps,
            class_logits=torch.zeros(1, BATCH_SIZE, 1, num_classes + 1),
            mask_embeddings=torch.zeros(1, BATCH_SIZE, 1, WIDTH),
            mask_logits=torch.zeros(1, BATCH_SIZE, 1, *maps.shape[2:]),
        )
        learnt, _ = losses(batch, output)
        optimizer.zero_grad()
        learnt.backward()
        torch.nn.utils.clip_grad_norm_(losses.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return losses.eval()


@torch.inference_mode()
def areas(
    losses: PairLosses, patches: Patches, raw: Float[Tensor, "N D h w"], classes: Tensor
) -> dict[str, float]:
    """Compare the teachers on pairs of patches of some classes in different scenes, of ``MOST`` patches at most."""
    chosen = torch.isin(patches.labels, classes)
    places = chosen.flatten().nonzero()[:, 0]
    drawn = torch.randperm(len(places), generator=torch.Generator().manual_seed(0))[:MOST]
    chosen = torch.zeros_like(chosen).flatten().index_fill(0, places[drawn], True).view_as(chosen)
    scene = torch.arange(len(chosen))[:, None, None].expand_as(chosen)[chosen]
    labels = patches.labels[chosen]
    each, as_they_come = (maps.permute(0, 2, 3, 1)[chosen][None] for maps in (patches.maps, raw))
    apart = scene[:, None] != scene
    same = (labels[:, None] == labels)[apart].numpy()
    with as_teacher(losses.simnet) as simnet:
        by_simnet = torch.cat([simnet(part, each)[0] for part in each.split(256, dim=1)])
    found = {
        "SimNet": by_simnet,
        "cosine, whitened": centred_cosine(each, each)[0],
        "cosine": centred_cosine(as_they_come, as_they_come)[0],
    }
    return {
        name: round(float(roc_auc_score(same, similarity[apart].numpy())), 4)
        for name, similarity in found.items()
    }


def main() -> None:
    """Read the command line, train and write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--from", dest="cutouts", type=Path, required=True, help="folder of cut-outs")
    parser.add_argument("--out", type=Path, default=Path("build/frozen"))
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--pairs", choices=["paper", "two-masks"], default="paper", help="what SimNet learns from"
    )
    given = parser.parse_args()
    folder = scene_folder("many", given.cutouts, given.out, size=SIZE)
    sources = {
        share: WeakShotSource(dataset=FOLDER, path=folder, unseen_share=share, unseen_masks="hide")
        for share in SHARES
    }
    network = load_dinov2(resolve_checkpoint("dinov2-small"))
    encoder = CachedEncoder(network, fingerprint=network.fingerprint)
    scored = sources[SHARES[0]].scored_images()
    assert scored is not None
    assert scored.vocabulary.seen is not None
    things = {name.replace("_", " ") for name in WORLDS["many"][1].split()}
    names = scored.vocabulary.names
    compared = torch.tensor(
        [label for label, name in enumerate(names) if name in things and label not in scored.vocabulary.seen]
    )
    trained = patches_of(sources[SHARES[0]].masked_labels(0).dataset, encoder)
    held_out = patches_of(scored, encoder)
    by, raw = components(trained.maps), held_out.maps
    trained, held_out = (part._replace(maps=project(part.maps, by)) for part in (trained, held_out))
    file = HERE / "simformer_teachers.json"
    kept = read_json_file(file)["rows"] if file.is_file() else []
    rows = [
        row
        for row in kept
        if (row["steps"], row["pairs"]) != (given.steps, given.pairs) or row["seed"] not in given.seeds
    ]
    for seed in given.seeds:
        for source in sources.values():
            differ = given.pairs == "paper"
            losses = train_simnet(source, trained, seed, given.steps, unlabelled_differ=differ)
            labels_seen = source.vocabulary().seen or frozenset()
            seen = torch.tensor([label for label in sorted(labels_seen) if names[label] in things])
            of_seen = {
                f"{name}, seen things": area for name, area in areas(losses, held_out, raw, seen).items()
            }
            rows.append(
                {
                    "seen classes": len(labels_seen),
                    "seed": seed,
                    "steps": given.steps,
                    "pairs": given.pairs,
                    **areas(losses, held_out, raw, compared),
                    **of_seen,
                }
            )
            print(rows[-1], flush=True)
            facts = {
                "command": "python benchmarks/accuracy/simformer_teachers.py --from CUTOUTS",
                **machine(),
            }
            content = {**facts, "compared classes": len(compared), "rows": rows}
            file.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
