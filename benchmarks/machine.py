"""The machine that a benchmark ran on, as its JSON writes it down."""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Describe the machine: processor, cores this process may use, threads it was told to use."""
    cpu = platform.processor() or "unknown"
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        cpu = names[0] if names else cpu
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch is not None else os.environ.get("OMP_NUM_THREADS", "default")
    found = {"cpu": cpu, "cores": cores, "threads": threads, "system": platform.platform(terse=True)}
    if (
        torch is not None
    ):  # with other vectors sums are rounded otherwise, and a training of the same seed ends elsewhere
        found["vectors"] = torch.backends.cpu.get_cpu_capability()
    return found


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of the installed packages named."""
    found = {"python": platform.python_version()}
    for package in packages:
        found[package] = importlib.metadata.version(package)
    return found
