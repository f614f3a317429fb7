"""Devices and precision from what the user asked for."""

from __future__ import annotations

import re

import torch

from evalsuite.errors import UsageError
from evalsuite.features.encoding import Precision

_DEVICE = re.compile(r"cpu|cuda(:\d+)?")


def parse_devices(text: str) -> list[torch.device]:
    """Return the devices of `auto` (all GPUs, else the CPU), `cpu`, `cuda`, `cuda:1` or `cuda:0,cuda:1`.

    Raises UsageError for a device that this machine does not have.
    """
    if text == "auto":
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return [torch.device("cuda", index) for index in range(gpus)] or [torch.device("cpu")]
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if not _DEVICE.fullmatch(name):
            raise UsageError(f"--device {text}: {name!r} is no device; write auto, cpu, cuda, cuda:N or cuda:0,cuda:1.")
        if name.startswith("cuda"):
            _check_cuda(text, int(name.partition(":")[2] or 0))
    if len(set(names)) < len(names) or ("cpu" in names and len(names) > 1):
        raise UsageError(f"--device {text}: give each GPU once, or cpu alone.")
    return [torch.device("cuda:0" if name == "cuda" else name) for name in names]


def choose_precisions(asked: str, device: torch.device) -> tuple[Precision, ...]:
    """Return the precisions to try, in order.

    `auto` is fp32 on CPUs, where half precisions are slower. On GPUs it is fp16, and where that overflows bf16, whose
    range is that of fp32, then fp32.
    """
    if asked == "auto":
        return ("fp16", "bf16", "fp32") if device.type == "cuda" else ("fp32",)
    if asked not in ("fp32", "fp16", "bf16"):
        raise UsageError(f"--precision {asked}: choose auto, fp32, fp16 or bf16.")
    return (asked,)  # type: ignore[return-value]


def _check_cuda(text: str, index: int) -> None:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count:
        found = f"there are {count} GPUs" if count else "torch finds no CUDA GPU"
        raise UsageError(f"--device {text}: {found} on this machine. Use --device auto or --device cpu.")
