"""Where networks run: the `device` setting as a torch device."""

from __future__ import annotations

import torch

from data.errors import InputError


def choose_device(name: str = "auto") -> torch.device:
    """The device called `name`: cpu, cuda, cuda:1, mps, or auto for the best there is.

    Raises InputError for a name that torch does not know or a device that this machine lacks.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # one for each way a device can be lacking
        raise InputError(
            f"device {name}",
            expected="auto, cpu, or a device of this machine (cuda, cuda:1, mps)",
            found=str(error).splitlines()[0],
            remedy="choose another device",
        ) from error
    return device
