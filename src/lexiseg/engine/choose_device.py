"""From a name to a device."""

import torch

from lexiseg.core.errors import InputError


def choose_device(name: str) -> torch.device:
    """Give the device of that name; ``auto`` is a GPU when there is one.

    Raises:
        InputError: This torch cannot use it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            doing=f"choosing the device {name!r}",
            found=str(error).splitlines()[0],
            expected="a device that this torch can use on this machine, such as cpu",
            fix="Leave it out, or give cpu.",
        ) from error
    return device
