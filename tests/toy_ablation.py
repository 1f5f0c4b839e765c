"""A small table to make: two learning rates, and one of them measured twice."""

from lexiseg.recipes.ablations.study import Ablation, Cell, Claim


def toy() -> Ablation:
    return Ablation(
        name="toy_ablation:toy",
        title="Learning rates",
        recipe="toy_trainable:contrast_recipe",
        cells=(
            Cell(row="fast", trained_with={"optim.lr": 0.02}),
            Cell(row="fast, again", trained_with={"optim.lr": 0.02}),
            Cell(row="not at all", trained_with={"optim.lr": 1e-9}, seeds=(0,)),
        ),
        measures=("held_out_loss",),
        claims=(
            Claim(says="without learning more is lost", better=("not at all", ""), worse=("fast", "")),
            Claim(
                says="the same is the same", better=("fast", ""), worse=("fast, again", ""), by_at_most=0.0
            ),
            Claim(says="learning loses more", better=("fast", ""), worse=("not at all", "")),
        ),
        published={("fast", ""): 50.0},
        seeds=(0, 1),
    )


def retrained() -> Ablation:
    """A SimFormer of a few steps, and the same trained again on its own pseudo masks."""
    small = {"data.num_scenes": 8, "data.num_scored_scenes": 4}
    return Ablation(
        name="toy_ablation:retrained",
        title="Re-trained or not",
        recipe="simformer/tiny",
        cells=(
            Cell(row="once", trained_with=small),
            Cell(row="twice", trained_with=small, retrained=True),
        ),
        measures=("unseen_mean_iou",),
        seeds=(0,),
    )
