"""What the main process read, on every process: other nodes need not see its files."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, distributed

from lexiseg.core.json_text import decode_json
from lexiseg.engine.devices import Devices

#: Tensors by file and name, and plain values.
Read = tuple[Mapping[str, Mapping[str, Tensor]], Mapping[str, Any]]


def number_from_main(devices: Devices, number: int) -> int:
    """Return the main process's number on every process; all of them call this."""
    if devices.world_size == 1:
        return number
    box = torch.tensor([number], device=devices.device)
    distributed.broadcast(box, src=0)
    return int(box.item())


def read_on_main(devices: Devices, read: Callable[[], Read]) -> Read:
    """Read tensors on the main process and give them to all, one after the other; all processes call this.

    Args:
        devices: Where each process computes; tensors go through there and come back to the CPU.
        read: Called on the main process only. What it raises is raised there, and ends the others with it.
    """
    if devices.world_size == 1:
        return read()
    files, values = read() if devices.is_main else ({}, {})
    listed = [
        [file, name, list(tensor.shape), str(tensor.dtype).removeprefix("torch.")]
        for file, tensors in files.items()
        for name, tensor in tensors.items()
    ]
    text = json.dumps({"listed": listed, "files": list(files), "values": dict(values)}).encode()
    length = number_from_main(devices, len(text))
    header = torch.empty(length, dtype=torch.uint8)
    if devices.is_main:
        header = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    content = decode_json(_sent(header, devices).numpy().tobytes())
    found: dict[str, dict[str, Tensor]] = {file: {} for file in content["files"]}
    for file, name, shape, dtype in content["listed"]:
        empty = torch.empty(shape, dtype=getattr(torch, dtype)) if not devices.is_main else files[file][name]
        found[file][name] = _sent(empty, devices)
    return found, content["values"]


def _sent(tensor: Tensor, devices: Devices) -> Tensor:
    there = tensor.to(devices.device).contiguous()
    distributed.broadcast(there, src=0)
    return there.cpu()
