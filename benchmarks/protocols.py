"""What `--protocol all` takes on stored features, against the two protocols of the paper, in turn, in one run.

    python -m benchmarks.protocols --data ../shared/data
    python -m benchmarks.protocols --model pixels --tasks digits --limit 200

The images are encoded once, before anything is timed, and results are computed again each time. Seconds are those of
processors (all threads of this process), which what else runs on the machine changes little.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import median

import click

import evalsuite
from evalsuite.protocols import DEFAULT_PROTOCOLS, FURTHER_PROTOCOLS

ROOT = Path(__file__).resolve().parents[1]


@click.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), default=ROOT.parent / "shared" / "data",
              help="Folder of the datasets.  [default: ../shared/data next to the checkout]")  # fmt: skip
@click.option("--model", default="pocket", show_default=True, help="Model whose features are stored.")
@click.option("--tasks", default="mnist,cifar10", show_default=True, help="Tasks.")
@click.option("--limit", type=click.IntRange(1), help="At most so many samples per split.")
@click.option("--repeats", type=click.IntRange(1), default=2, show_default=True, help="Times that each takes its turn.")
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), default=ROOT / "build" / "protocols",
              help="Folder of the stores.  [default: build/protocols]")  # fmt: skip
@click.option("--json", "target", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here.")
def main(data: Path, model: str, tasks: str, limit: int | None, repeats: int, work: Path, target: Path | None) -> None:
    """Time every protocol of this project on stored features."""

    def run(*protocols: str) -> float:
        started = time.process_time()
        results = evalsuite.evaluate(
            model, tasks, protocols, data_root=data, output=work / "out", cache_dir=work / "cache", limit=limit,
            offline=True, device="cpu", overwrite=True,
        )  # fmt: skip
        assert all(result.metric is not None or result.status == "not_applicable" for result in results), results
        return time.process_time() - started

    run(*DEFAULT_PROTOCOLS)
    names = ("default", *DEFAULT_PROTOCOLS, *FURTHER_PROTOCOLS, "all")
    chosen = {name: DEFAULT_PROTOCOLS if name == "default" else (name,) for name in names}
    seconds = {name: [run(*protocols)] for name, protocols in chosen.items()}
    for _ in range(repeats - 1):
        for name in ("default", "all"):
            seconds[name].append(run(*chosen[name]))
    ratio = median(every / two for every, two in zip(seconds["all"], seconds["default"], strict=True))
    for name, taken in seconds.items():
        click.echo(f"{name}: {median(taken):.1f} s of processors")
    click.echo(f"all take {ratio:.2f} x the time of the two of the paper on {model}, {tasks}")
    if target is not None:
        target.write_text(json.dumps({**{name: median(taken) for name, taken in seconds.items()}, "ratio": ratio}))


if __name__ == "__main__":
    main()
