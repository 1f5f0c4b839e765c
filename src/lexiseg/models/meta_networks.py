"""Networks that are built without memory, before their tensors are read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

#: The half of a pair of encoders that nobody asked for.
SMALLEST = {"hidden_size": 1, "intermediate_size": 1, "num_hidden_layers": 1, "num_attention_heads": 1}
NO_TOKENS = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hold back remarks on fields that do not matter here, such as SigLIP's unused start token."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def fill_position_ids(model: nn.Module) -> None:
    """Fill in the positions 0, 1, 2, … of a network without memory, which no file needs to hold."""
    for name, value in model.named_buffers():
        if value.is_meta:
            assert name.endswith("position_ids"), f"{name} is in no file and has no known value"
            owner = model.get_submodule(name.rpartition(".")[0])
            owner.register_buffer(
                "position_ids", torch.arange(value.shape[-1]).expand(1, -1), persistent=False
            )


def keep_index_tables(network: nn.Module) -> None:
    """Compute Swin's index tables, which follow from the settings, where the network has no memory yet."""
    for module in network.modules():
        if hasattr(module, "relative_position_index"):
            bias: Any = module
            with torch.device("cpu"):
                table = bias._create_relative_position_index().view(-1)
            del module.relative_position_index
            module.register_buffer("relative_position_index", table, persistent=False)
