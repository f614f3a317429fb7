"""The image pass against what bounds it, and against CLIP_benchmark, as ratios of times taken in turn in one run.

    python -m benchmarks.extraction --data ../shared/data
    python -m benchmarks.extraction --data ../shared/data --peer DIR --busy 1 --json extraction.json

(a) `forward`: a pass of a random ViT-S/32 over MNIST's and CIFAR-10's test images, against the bare forward pass of
the very same batches, which are in memory already. (b) `decode`: a pass of a model that costs nearly nothing over
photographs of 500 x 375, by as many workers as there are processors, against what one core decodes x processors.
(c) `main`: CPU time of the main process per image of 224 px, decoding apart. (d) `peer`: CLIP_benchmark 1.6.2 on the
same checkpoint and MNIST test images, zero-shot and the feature pass of its linear probe. It needs an environment of
its own, whose folder is --peer:

    python -m venv DIR && DIR/bin/pip install clip_benchmark==1.6.2 'numpy<2.4' requests

(e) `two`: a run of two random models of equal preprocessing, against decoding once, both forward
passes and the scores.
(f) `device`: on a GPU, random ViT-B/32, B/16 and L/14 from batches in memory against the bare forward pass in half
precision, and from photographs against the lower of that and what as many processes as there are processors decode at
once. Elsewhere it runs with --architecture, in the device's own precision.

With `--busy N`, what is timed runs next to N busy processes, and the passes of (a) alone in turn.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.busy import Neighbours, load
from benchmarks.passes import Asked, Free, Kept, bare, bare_rate, decoded_at_once, evaluated, read, run
from benchmarks.pictures import ARCHITECTURE, checkpoint, photographs
from evalsuite import load_model
from evalsuite.executors.devices import choose_precisions, parse_devices
from evalsuite.executors.local import LocalExecutor
from evalsuite.features.batches import MOST_WORKERS, worker_count
from evalsuite.features.decoders import DECODERS
from evalsuite.models.base import move
from evalsuite.processors import HUGE_PAGES, processors
from evalsuite.runner.passes import BATCH_SIZES
from evalsuite.speed.measure import encode_rates, prepared

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "benchmark"
BATCH = 64
PART_NAMES = ("forward", "decode", "main", "peer", "two", "device")
GPU_ARCHITECTURES = ("ViT-B-32", "ViT-B-16", "ViT-L-14")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is measured. images: per task; repeats: of each pair; peer: environment of CLIP_benchmark."""

    data: Path
    images: int
    repeats: int
    peer: Path | None
    architectures: Sequence[str]
    neighbours: Neighbours
    say: Say


@click.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), default=ROOT.parent / "shared" / "data",
              help="Folder with MNIST/raw and cifar10.  [default: ../shared/data next to the checkout]")  # fmt: skip
@click.option("--part", "parts", multiple=True, type=click.Choice(PART_NAMES),
              help="One part; may be given several times.  [default: all]")  # fmt: skip
@click.option("--images", type=click.IntRange(2), default=2_000, show_default=True, help="Images per task.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True, help="How often each pair is timed.")
@click.option("--peer", type=click.Path(path_type=Path, file_okay=False, exists=True),
              help="Folder of CLIP_benchmark's environment.")  # fmt: skip
@click.option("--architecture", "architectures", multiple=True, metavar="NAME",
              help="Architecture of open_clip for `device`; may be given several times.")  # fmt: skip
@click.option("--busy", type=click.IntRange(0), default=0, help="Busy processes next to what is timed.")
@click.option("--json", "target", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here.")
def main(
    data: Path,
    parts: Sequence[str],
    images: int,
    repeats: int,
    peer: Path | None,
    architectures: Sequence[str],
    busy: int,
    target: Path | None,
) -> None:
    """Compare the image pass with what bounds it, and with CLIP_benchmark."""
    figures: dict[str, Any] = {"processors": processors(), "threads": torch.get_num_threads(), "busy": busy}
    with ExitStack() as stack:
        plan = Plan(data, images, repeats, peer, architectures, Neighbours(busy, stack), click.echo)
        for name in parts or PARTS:
            if name == "peer" and peer is None:
                click.echo("peer: skipped, --peer is not given.")
                continue
            if name == "device" and not (architectures or torch.cuda.is_available()):
                click.echo("device: skipped, there is no GPU.")
                continue
            click.echo(f"{name}: load {load():.1f}")
            figures[name] = {"load": load(), **PARTS[name](plan)}
            if target is not None:  # after every part: the next one takes minutes
                target.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


def forward(plan: Plan) -> dict[str, Any]:
    """(a) A pass against the bare forward pass of the same batches."""
    model: Any = load_model(model_name())
    (device, *_) = parse_devices("auto")
    found = {}
    for task in ("mnist", "cifar10"):
        asked = Asked(task, plan.data, plan.images, {"batch_size": BATCH})
        run(kept := Kept(model), asked)
        alone, passes, forwards = [], [], []
        for _ in range(plan.repeats):
            if plan.neighbours.count:
                alone.append(run(model, asked).images)
            with plan.neighbours.busy():
                passes.append(run(model, asked).images)
                forwards.append(bare(model, kept.batches, device))
        ratios = [whole / part for whole, part in zip(passes, forwards, strict=True)]
        slower = [busy / calm for busy, calm in zip(passes, alone, strict=False)]
        found[task] = {**summary("pass_over_forward", ratios), **summary("busy_over_alone", slower)}
        found[task] |= {"pass_s": passes, "forward_s": forwards, "alone_s": alone}
        plan.say(f"  {task}: the pass takes {shown(ratios)} x the bare forward, {statistics.median(forwards):.1f} s")
        if slower:
            plan.say(f"  {task}: next to {plan.neighbours.count} busy, {shown(slower)} x its time alone")
    return found


def decode(plan: Plan) -> dict[str, Any]:
    """(b) A pass of a nearly free model against what the processors can decode."""
    model = Free(load_model(model_name()))  # type: ignore[arg-type]
    asked = Asked(str(photographs(FOLDER, plan.images)), FOLDER, plan.images)
    cores, threads = processors(), torch.get_num_threads()
    few = Asked(asked.task, FOLDER, plan.images // cores)
    found: dict[str, Any] = {}
    for _ in range(plan.repeats):
        for decoder in DECODERS:
            keywords = {"batch_size": BATCH, "workers": cores, "decoder": decoder}
            with plan.neighbours.busy():
                torch.set_num_threads(1)
                one = read(model.preprocess, few, 0, BATCH, decoder)
                torch.set_num_threads(threads)
                helped = read(model.preprocess, few, 0, BATCH, decoder)
                whole = run(model, Asked(asked.task, FOLDER, plan.images, keywords))
            rates = found.setdefault(decoder, {"one_core_per_s": [], "helped": [], "shares": []})
            rates["one_core_per_s"].append(one.count / one.seconds)
            rates["helped"].append(one.seconds / helped.seconds)
            rates["shares"].append(whole.count / whole.images / (rates["one_core_per_s"][-1] * cores))
    for decoder, rates in found.items():
        rates |= summary("share_of_cores", rates["shares"]) | summary("threads_over_one", rates["helped"])
        one_core = statistics.median(rates["one_core_per_s"])
        reached = shown(rates["shares"])
        plan.say(f"  {decoder}: one core decodes {one_core:.0f} images/s; the pass reaches {reached} x {cores} cores")
        plan.say(
            f"  {decoder}: without other processes, {threads} threads decode {shown(rates['helped'])} x as many as one"
        )
    quick, usual = (found[decoder]["one_core_per_s"] for decoder in ("torchvision", "pillow"))
    ratios = [a / b for a, b in zip(quick, usual, strict=True)]
    plan.say(f"  torchvision decodes {shown(ratios)} x as many as Pillow")
    return {**found, **summary("torchvision_over_pillow", ratios)}


def main_process(plan: Plan) -> dict[str, Any]:
    """(c) CPU time of the main process per image, in microseconds: all of it, and without that of the first batch."""
    model: Any = load_model(model_name())
    asked = Asked(str(photographs(FOLDER, plan.images)), FOLDER, plan.images)
    few = Asked(asked.task, FOLDER, BATCH)
    spent, more = [], []
    for _ in range(plan.repeats):
        with plan.neighbours.busy():
            first, whole = (read(model.preprocess, part, processors(), BATCH) for part in (few, asked))
        spent.append(1e6 * whole.main / whole.count)
        more.append(1e6 * (whole.main - first.main) / max(1, whole.count - first.count))
    plan.say(f"  {shown(spent)} us of the main process per image; {shown(more)} us after the first batch")
    return {**summary("main_us", spent), **summary("main_us_later", more)}


def peer(plan: Plan) -> dict[str, Any]:
    """(d) CLIP_benchmark on the same checkpoint and images. Its default is bf16 on CPUs."""
    if plan.peer is None:
        return {}
    model: Any = load_model(model_name())
    ratios: dict[str, list[float]] = {}
    mine: list[Any] = []
    with closing(Peer(plan.peer, plan.data)) as other:
        for repeat in range(plan.repeats + 1):
            count = plan.images if repeat else BATCH  # the first time is to warm up
            for precision in ("fp32", "bf16"):
                asked = Asked("mnist", plan.data, count, {"precision": precision})
                with plan.neighbours.busy():
                    own = run(model, asked)
                    theirs = {what: other.ask(what, precision, count) for what in ("zero_shot", "features")}
                if repeat:
                    mine.append(asdict(own))
                    ratios.setdefault(f"zero_shot_{precision}", []).append(theirs["zero_shot"] / own.total)
                    ratios.setdefault(f"features_{precision}", []).append(theirs["features"] / own.images)
    for name, values in ratios.items():
        plan.say(f"  {name}: CLIP_benchmark takes {shown(values)} x our time")
    found = {key: value for name, values in ratios.items() for key, value in summary(name, values).items()}
    return {**found, "ours": mine}


class Peer:
    """CLIP_benchmark in a process of its environment, with the settings of threads and memory that it ships with."""

    def __init__(self, environment: Path, data: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", HUGE_PAGES)}
        script = Path(__file__).with_name("peer.py")
        command = [environment / "bin" / "python", "-O", script, checkpoint(FOLDER), data]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=kept)

    def ask(self, what: str, precision: str, images: int) -> float:
        """Return the seconds it takes."""
        assert self._process.stdin is not None and self._process.stdout is not None
        request = {"what": what, "amp": precision != "fp32", "images": images}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise click.ClickException("CLIP_benchmark has ended; what it said is above.")
        return float(answer)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def two(plan: Plan) -> dict[str, Any]:
    """(e) Two models of equal preprocessing in one run, against decoding once and both forward passes."""
    models: list[Any] = [load_model(model_name(seed=seed)) for seed in (0, 1)]
    (where, *_) = parse_devices("auto")
    asked = Asked("mnist", plan.data, plan.images, {"batch_size": BATCH})
    run(kept := Kept(models[0]), asked)
    workers = worker_count(None, plan.images, where.type)
    ratios = []
    for _ in range(plan.repeats):
        with plan.neighbours.busy():
            started = time.perf_counter()
            results = evaluated(models, asked)
            together = time.perf_counter() - started
            decoded = read(models[0].preprocess, asked, workers, BATCH).seconds
            forwards = [bare(model, kept.batches, where) for model in models]
        scores = sum(result.timings.text + result.timings.fit for result in results)
        ratios.append(together / (decoded + sum(forwards) + scores))
    plan.say(f"  both take {shown(ratios)} x decoding once, both forward passes and the scores")
    return summary("two_over_parts", ratios)


def device(plan: Plan) -> dict[str, Any]:
    """(f) Architectures from memory against the bare network, and from photographs against what bounds them."""
    (where, *_) = parse_devices("auto")
    size, cores = BATCH_SIZES[where.type], min(processors(), MOST_WORKERS)
    asked = Asked(str(photographs(FOLDER, plan.images)), FOLDER, plan.images)
    found: dict[str, Any] = {}
    for architecture in plan.architectures or GPU_ARCHITECTURES:
        model: Any = load_model(model_name(architecture))
        image, finish = prepared(model.preprocess)
        decoded = decoded_at_once(model.preprocess, "pillow", cores)
        move(model, where)
        precision = choose_precisions("auto", where)[0]
        encode = LocalExecutor([where], [precision]).mapping(model, precision)
        memory, files, steady = [], [], []
        for _ in range(plan.repeats):
            with plan.neighbours.busy():
                bare_per_s = bare_rate(model, image, finish, where, size)
                rates, _ = encode_rates(encode, image, finish, [size], where.type, 1)
                whole = run(model, asked)
            bound = min(bare_per_s, decoded)
            memory.append(rates[size] / bare_per_s)
            files.append(whole.count / whole.images / bound)
            steady.append(whole.steady / bound)
        plan.say(f"  {architecture}: from memory {shown(memory)} x the bare network, {bare_per_s:,.0f} images/s")
        plan.say(f"  {architecture}: from photographs {shown(files)} x the lower of that and {decoded:,.0f} decoded")
        plan.say(f"  {architecture}: without its beginning and end {shown(steady)} x")
        found[architecture] = {**summary("memory_over_bare", memory), **summary("files_over_bound", files)}
        found[architecture] |= summary("steady_over_bound", steady)
        found[architecture] |= {"bare_per_s": bare_per_s, "decoded_per_s": decoded, "device": str(where)}
    return found


PARTS: dict[str, Callable[[Plan], dict[str, Any]]] = {
    "forward": forward,
    "decode": decode,
    "main": main_process,
    "peer": peer,
    "two": two,
    "device": device,
}


def model_name(architecture: str = ARCHITECTURE, seed: int = 0) -> str:
    """Return the name of a random model of an architecture."""
    return f"open_clip:{architecture}/{checkpoint(FOLDER, architecture, seed)}"


def summary(name: str, values: Sequence[float]) -> dict[str, Any]:
    """Return the middle value and the range, ready for JSON."""
    if not values:
        return {}
    return {name: statistics.median(values), f"{name}_range": [min(values), max(values)]}


def shown(values: Sequence[float]) -> str:
    """Return the middle value and the range, for a person."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
