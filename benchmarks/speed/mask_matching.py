"""Match proposals with targets and judge them, beside transformers' own matcher and loss.

All decoder layers, one core unless OMP_NUM_THREADS says otherwise. Both sides get the same tensors and give the
same assignments and losses, which is checked before anything is timed.
"""

import resource
import sys
from pathlib import Path

import torch
from timing import Row, compare, print_rows, write_json
from transformers.models.maskformer.modeling_maskformer import MaskFormerHungarianMatcher, MaskFormerLoss

from lexiseg.losses.set_prediction import SetTargets, match_layers, set_losses
from lexiseg.models.backbones import TinyPyramid
from lexiseg.models.maskformer import TINY, MaskFormer

#: images, side, layers, proposals, classes, targets an image, pixels per mask pixel
SIZES = {
    "scenes: 16 × 64², 3 layers, 16 queries, 4 targets": (16, 64, 3, 16, 12, 4, 2),
    "ADE20K: 2 × 512², 6 layers, 100 queries, 10 targets": (2, 512, 6, 100, 150, 10, 4),
}


def draw(num, side, layers, queries, classes, targets, stride):
    generator = torch.Generator().manual_seed(0)
    given = []
    for _ in range(num):
        blocks = torch.randint(0, targets, (8, 8), generator=generator)
        labels = blocks.repeat_interleave(side // 8, 0).repeat_interleave(side // 8, 1)
        given.append(
            SetTargets(
                labels=torch.randperm(classes, generator=generator)[:targets],
                masks=labels == torch.arange(targets)[:, None, None],
                has_mask=torch.ones(targets, dtype=torch.bool),
            )
        )
    class_logits = torch.randn(layers, num, queries, classes + 1, generator=generator)
    size = side // stride
    mask_logits = 3 * torch.randn(layers, num, queries, size, size, generator=generator)
    return class_logits.requires_grad_(), mask_logits.requires_grad_(), given


class Theirs:
    """transformers' matcher and loss with MaskFormer's published weights, over all layers."""

    def __init__(self, classes: int) -> None:
        self.matcher = MaskFormerHungarianMatcher(cost_class=1.0, cost_mask=20.0, cost_dice=1.0)
        self.loss = MaskFormerLoss(classes, self.matcher, {}, eos_coef=0.1)

    def match(self, class_logits, mask_logits, targets):
        """Match layer by layer."""
        given = [one.masks.float() for one in targets], [one.labels for one in targets]
        return [
            self.matcher(masks, labels, *given)
            for masks, labels in zip(mask_logits, class_logits, strict=True)
        ]

    def step(self, class_logits, mask_logits, targets):
        """Match, weigh and differentiate."""
        given = [one.masks.float() for one in targets], [one.labels for one in targets]
        total = torch.zeros(())
        for masks, labels in zip(mask_logits, class_logits, strict=True):
            terms = self.loss(masks, labels, *given)
            total = total + terms["loss_cross_entropy"] + 20 * terms["loss_mask"] + terms["loss_dice"]
        torch.autograd.grad(total, [class_logits, mask_logits])
        return total.detach()


def our_step(class_logits, mask_logits, targets):
    found = match_layers(class_logits, mask_logits, targets)
    losses = set_losses(class_logits, mask_logits, targets, found)
    total = losses.classification + 20 * losses.focal + losses.dice
    torch.autograd.grad(total, [class_logits, mask_logits])
    return total.detach()


def network_rows() -> list[Row]:
    """Time a whole step of the tiny network, and its inference."""
    *_, targets = draw(*SIZES["scenes: 16 × 64², 3 layers, 16 queries, 4 targets"])
    network, images = MaskFormer(TinyPyramid(), 12, TINY), torch.rand(16, 3, 64, 64)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)

    def step():
        output = network(images)
        found = match_layers(output.class_logits, output.mask_logits, targets)
        losses = set_losses(output.class_logits, output.mask_logits, targets, found)
        optimiser.zero_grad()
        (losses.classification + 20 * losses.focal + losses.dice).backward()
        optimiser.step()

    @torch.no_grad()
    def infer(*, last_only: bool):
        output = network(images, last_only=last_only)
        classes = output.class_logits[-1].softmax(dim=-1)[..., :-1]
        return torch.einsum("bqc,bqhw->bchw", classes, output.mask_logits[-1].sigmoid())

    functions = {
        "training step": step,
        "inference": lambda: infer(last_only=True),
        "inference, masks of all layers": lambda: infer(last_only=False),
    }
    return compare(functions, repeats=9, step="tiny MaskFormer, 16 × 64²")


def kept_numbers(step, *arguments) -> int:
    """Count the numbers that autograd keeps for the gradient of one step, in bytes."""
    seen: dict[int, int] = {}

    def keep(value):
        seen[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        step(*arguments)
    return sum(seen.values())


def main() -> None:
    rows: list[Row] = []
    kept = {}
    for name, sizes in SIZES.items():
        drawn, theirs = draw(*sizes), Theirs(sizes[4])
        for ours, their in zip(match_layers(*drawn), theirs.match(*drawn), strict=True):
            for (queries, found), (their_queries, their_found) in zip(ours, their, strict=True):
                assert torch.equal(queries, their_queries)
                assert torch.equal(found, their_found)
        torch.testing.assert_close(our_step(*drawn), theirs.step(*drawn), rtol=1e-4, atol=1e-4)
        matching = {
            "matching (lexiseg)": lambda drawn=drawn: match_layers(*drawn),
            "matching (transformers)": lambda drawn=drawn, theirs=theirs: theirs.match(*drawn),
        }
        rows += compare(matching, repeats=7, step=name)
        steps = {
            "matching, loss and gradient (lexiseg)": lambda drawn=drawn: our_step(*drawn),
            "matching, loss and gradient (transformers)": lambda drawn=drawn, theirs=theirs: theirs.step(
                *drawn
            ),
        }
        rows += compare(steps, repeats=7, step=name)
        kept[name] = {
            "lexiseg_mb": round(kept_numbers(our_step, *drawn) / 1e6, 1),
            "transformers_mb": round(kept_numbers(theirs.step, *drawn) / 1e6, 1),
        }
    rows += network_rows()
    print_rows(rows, "Matching and mask losses; ratio to the first of each step")
    print("kept for the gradient:", kept)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    write_json(
        Path(__file__).with_suffix(".json"),
        rows,
        ["torch", "transformers", "scipy"],
        kept_for_the_gradient=kept,
        peak_memory_mb=round(peak / 1e6),
    )


if __name__ == "__main__":
    main()
