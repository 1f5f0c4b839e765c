"""Time a grouping block, forward and backward, against the layer of transformers' GroupViT with the same weights."""

from collections.abc import Callable
from pathlib import Path

import torch
from timing import Row, compare, print_rows, write_json
from torch import nn

from lexiseg.layers.grouping import GroupingBlock

# Batch, segments, group tokens, groups: both blocks of the published network at 224 pixels, and the first at 448.
SHAPES = {
    "block 1, 224 px": (16, 196, 64, 64),
    "block 2, 224 px": (16, 64, 8, 8),
    "block 1, 448 px": (4, 784, 64, 64),
}
WIDTH, NUM_HEADS = 384, 6


def main() -> None:
    from transformers import GroupViTVisionConfig
    from transformers.models.groupvit.modeling_groupvit import GroupViTTokenAssign

    torch.set_num_threads(1)
    rows: list[Row] = []
    for name, (batch, num_segments, num_tokens, num_groups) in SHAPES.items():
        theirs = GroupViTTokenAssign(GroupViTVisionConfig(), num_tokens, num_groups)
        ours = GroupingBlock(
            WIDTH,
            NUM_HEADS,
            num_tokens=num_tokens,
            num_groups=num_groups,
            token_hidden=WIDTH // 2,
            cross_hidden=4 * WIDTH,
            channel_hidden=4 * WIDTH,
        )
        ours.load_state_dict(theirs.state_dict())
        segments = torch.randn(batch, num_segments, WIDTH).requires_grad_()
        tokens = torch.randn(batch, num_tokens, WIDTH).requires_grad_()

        def both(block: nn.Module, segments: torch.Tensor = segments, tokens: torch.Tensor = tokens) -> None:
            block.zero_grad()
            segments.grad = tokens.grad = None
            groups, _ = block(segments, tokens)
            groups.sum().backward()

        def once(block: nn.Module, segments: torch.Tensor = segments, tokens: torch.Tensor = tokens) -> None:
            with torch.no_grad():
                block(segments, tokens)

        works: dict[str, tuple[Callable[..., None], bool]] = {
            "forward + backward, training": (both, True),
            "forward, evaluation": (once, False),
        }
        for what, (work, training) in works.items():
            ours.train(training)
            theirs.train(training)
            functions = {
                "transformers": lambda work=work, block=theirs: work(block),
                "GroupingBlock": lambda work=work, block=ours: work(block),
            }
            shape = "×".join(map(str, (batch, num_segments, WIDTH)))
            rows += compare(functions, repeats=15, input=name, shape=shape, timed=what)
    print_rows(rows, "Grouping block, one thread")
    write_json(Path(__file__).with_suffix(".json"), rows, ["torch", "transformers"])


if __name__ == "__main__":
    main()
