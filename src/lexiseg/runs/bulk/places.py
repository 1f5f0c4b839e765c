"""Where workers compute."""

import torch


def own_gpu(device: str, worker: int) -> str:
    """Return the device of one of several workers: of several GPUs its own, unless one was named.

    Args:
        device: What was asked for, such as ``auto``.
        worker: Its number, from 0.
    """
    count = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    return f"cuda:{worker % count}" if count > 1 else device
