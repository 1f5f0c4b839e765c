"""How many of the largest responses of a sentence are at what it is filled up with?

Run from the repository root, with a trained run of simseg/scenes: ``python benchmarks/accuracy/simseg_fillings.py RUN``.
Writes simseg_fillings.json beside this file.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "speed"))

from timing import machine  # noqa: E402

from lexiseg.data.scenes import SceneSettings, scene_batch, scene_vocabulary  # noqa: E402
from lexiseg.methods.simseg.segmenter import SimSeg  # noqa: E402
from lexiseg.runs.folder import load_run, read_recipe  # noqa: E402

NUM_CAPTIONS = 500


@torch.inference_mode()
def share_at_fillings(model: SimSeg, sentences: Sequence[str], responses: int) -> float:
    """Return the share of the largest responses, over all channels, that are at fillings."""
    tokens, attention_mask = model.texts.network(sentences, pad_to_max_length=True)
    places = model.texts.projection(tokens).topk(responses, dim=1).indices
    return float((places >= attention_mask.sum(1)[:, None, None]).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    model, settings = load_run(run), read_recipe(run)[1].data
    assert isinstance(model, SimSeg)
    assert isinstance(settings, SceneSettings)
    captions = scene_batch(settings, 77, 0, 0, NUM_CAPTIONS, NUM_CAPTIONS).captions
    prompts = [f"a photo of a {name}" for name in scene_vocabulary(settings).names]
    found = {f"captions, {count} responses": share_at_fillings(model, captions, count) for count in (1, 3, 5)}
    found["a photo of a …, 1 response"] = share_at_fillings(model, prompts, 1)
    print(json.dumps(found, indent=1))
    facts = {"command": "python benchmarks/accuracy/simseg_fillings.py RUN", **machine()}
    facts |= {"steps": read_recipe(run)[1].run.num_steps, "num_captions": NUM_CAPTIONS}
    (HERE / "simseg_fillings.json").write_text(json.dumps({**facts, "at_fillings": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
