"""cocu: GroupViT trained on captions whose words were curated (``lexiseg curate``).

The network, the losses and inference are GroupViT's; only the words that images are asked for are others.
"""

from dataclasses import replace

from lexiseg.engine.settings import OptimSettings, RunSettings
from lexiseg.recipes import groupvit
from lexiseg.recipes.groupvit import CaptionGroupViTRecipe
from lexiseg.recipes.word_settings import CurationSettings


def paper() -> CaptionGroupViTRecipe:
    """Train CoCu as its released code does: 30 epochs of CC3M, CC12M and YFCC14M, batch 1,024, curated first.

    Give ``--captions``, ``--tokenizer`` and ``--curation.folder``. Curate with 16 neighbours. Concepts are drawn from
    different clusters, as the paper says; the released code takes the best three (``--curation.sampling top``).
    """
    num_steps = 30 * (2_751_755 + 9_716_186 + 14_517_984) // 1024
    lr = 1.6e-3 * 1024 / 4096
    original = groupvit.paper()
    return replace(
        original,
        curation=CurationSettings(),
        optim=replace(original.optim, lr=lr, warmup_start=1e-6 / lr, final_factor=1e-5 / lr),
        run=replace(original.run, num_steps=num_steps, batch_size=1024),
    )


def folder() -> CaptionGroupViTRecipe:
    """Train CoCu on your own images with captions, curated first: batches of 256, for one GPU.

    Give ``--captions`` and ``--curation.folder``; set ``--run.num-steps`` to some tens of epochs.
    """
    return replace(
        paper(),
        optim=OptimSettings(
            lr=1e-4, weight_decay=0.05, warmup_fraction=0.05, final_factor=0.05, clip_norm=5.0
        ),
        run=RunSettings(
            num_steps=20_000, batch_size=256, sub_batch_size=128, precision="bf16", num_workers=4
        ),
    )
