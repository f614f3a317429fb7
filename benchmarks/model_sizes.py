"""Count parameters and FLOPs of the image encoders behind the aliases, without weights and without memory.

    python -m benchmarks.model_sizes            print what is counted
    python -m benchmarks.model_sizes --write    put it into aliases.yaml

Networks are built on torch's meta device, where a forward pass computes shapes only. Convention:
FLOPs = 2 x multiply-adds of convolutions and matrix products, as torch.utils.flop_counter counts them, for one
image; the image encoder alone, without text tower and without classifier. On the meta device attention is
counted as its matrix products; on a CPU without gradients torch's fused attention would be missed.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from evalsuite import atomic
from evalsuite.models.aliases import ALIASES_FILE, Alias, aliases
from evalsuite.models.skeletons import without_weights


@dataclass(frozen=True)
class Counted:
    """What was counted: parameters of the image encoder, GFLOPs (1e9) per image."""

    parameters: int
    gflops: float


def count(alias: Alias) -> Counted:
    """Count one alias at its input size."""
    encoder = _open_clip_tower(alias) if alias.backend == "open_clip" else _timm_trunk(alias)
    encoder.eval()
    image = torch.zeros(1, 3, alias.input_size, alias.input_size, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encoder(image)
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    return Counted(parameters, round(counter.get_total_flops() / 1e9, 3))


def rewrite(path: Path, counted: dict[str, Counted]) -> None:
    """Put counted numbers into an alias file; everything else in it stays, comments too."""
    lines = path.read_text(encoding="utf-8").splitlines()
    current: Counted | None = None
    for index, line in enumerate(lines):
        if line and not line.startswith((" ", "#")):
            current = counted.get(line.rstrip(":"))
        elif current is not None and line.startswith("  parameters:"):
            lines[index] = f"  parameters: {current.parameters}"
        elif current is not None and line.startswith("  gflops:"):
            lines[index] = f"  gflops: {current.gflops}"
    atomic.write_text(path, "\n".join(lines) + "\n")


def main(arguments: list[str]) -> list[str]:
    """Count every alias; return a line for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model_sizes", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the numbers into aliases.yaml")
    options = parser.parse_args(arguments)
    counted = {slug: count(alias) for slug, alias in aliases().items()}
    if options.write:
        rewrite(ALIASES_FILE, counted)
    return [f"{slug:24} {it.parameters:>12,} parameters {it.gflops:>10.3f} GFLOPs" for slug, it in counted.items()]


def _open_clip_tower(alias: Alias) -> Any:
    import open_clip

    arch = alias.target.partition("/")[0]
    with torch.device("meta"):
        return open_clip.create_model(arch, device="meta").visual


def _timm_trunk(alias: Alias) -> Any:
    import timm

    with without_weights():
        return timm.create_model(alias.target.partition(".")[0], pretrained=False, num_classes=0)


if __name__ == "__main__":
    sys.stdout.write("\n".join(main(sys.argv[1:])) + "\n")
