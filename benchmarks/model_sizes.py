"""Put the parameters and FLOPs of the image encoders behind the aliases into aliases.yaml (evalsuite/models/sizes.py).

python -m benchmarks.model_sizes            print what is counted
python -m benchmarks.model_sizes --write    put it into aliases.yaml
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from evalsuite import atomic
from evalsuite.models.aliases import ALIASES_FILE, Alias, aliases
from evalsuite.models.names import resolve
from evalsuite.models.sizes import Size, model_size


def count(alias: Alias) -> Size:
    """Count one alias at its input size."""
    found = model_size(replace(resolve(alias.slug), alias=None))
    if found is None:
        raise RuntimeError(f"{alias.slug} cannot be counted.")
    return found


def rewrite(path: Path, counted: dict[str, Size]) -> None:
    """Put counted numbers into an alias file; everything else in it stays, comments too."""
    lines = path.read_text(encoding="utf-8").splitlines()
    current: Size | None = None
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


if __name__ == "__main__":
    sys.stdout.write("\n".join(main(sys.argv[1:])) + "\n")
