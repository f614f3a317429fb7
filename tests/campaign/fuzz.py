"""Files that people write or bring, generated and mutated: task files, configurations, prompts, tables, records ...

Each ends in a result or a short message, in time and within a gigabyte.
"""

from __future__ import annotations

import csv
import gc
import importlib
import io
import itertools
import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from tests.archives import tar_of
from tests.campaign._contained import Attack, all_well, command, contained
from tests.campaign._mutations import as_yaml, broken_bytes, broken_value
from tests.campaign.frame import Finding
from tests.datasets import write_folder_task

PAPERS = Path(__file__).parents[2] / "results" / "published"

CONFIG = {
    "model": ["pixels"], "tasks": "digits", "protocol": ["linear_probe"], "limit": 20, "seed": 1, "batch_size": 8,
    "workers": 0, "precision": "fp32", "device": "cpu", "output": "out2", "probe-tolerance": 1e-6, "overwrite": False,
    "offline": True, "prompts": "simple", "shard": "1/2",
}  # fmt: skip

PROMPTS = {
    "source": "made up", "templates": ["a photo of a {}.", "a {}."],
    "classes": [{"red": "red thing"}, "green", {"key": "blue", "names": ["blue", "azure"]}],
}  # fmt: skip

EVALUATION = {
    "dataset": "mnist", "model": "ViT-L-14", "pretrained": "openai", "task": "zeroshot_classification",
    "metrics": {"acc1": 0.79, "acc5": 0.9, "mean_per_class_recall": 0.78}, "language": "en",
}  # fmt: skip

LONG_TABLE = (
    "acc1,acc5,mean_per_class_recall,dataset,model,pretrained,task\n"
    "0.5,0.9,0.4,mnist,ViT-B-16,openai,zeroshot_classification\n"
    "0.88,0.99,0.87,cifar10,ViT-B-16,openai,zeroshot_classification\n"
)

SLOW_IMPORTS = (
    "torch", "torchvision", "open_clip", "timm", "datasets", "pandas", "pyarrow.parquet", "pyarrow.compute",
    "regex", "sklearn", "scipy.stats", "huggingface_hub", "tabulate", "jinja2", "rich.progress", "evalsuite.api",
    "evalsuite.runner.loop", "evalsuite.cli.run", "evalsuite.cli.validate", "evalsuite.cli.report",
    "evalsuite.cli.compare", "evalsuite.cli.export", "evalsuite.cli.describe", "evalsuite.cli.ls",
    "evalsuite.cli.leaderboard", "evalsuite.cli.importing", "evalsuite.cli.merge", "evalsuite.cli.download",
    "evalsuite.data.validation", "evalsuite.data.opening", "evalsuite.report.task_page",
    "evalsuite.report.html.page", "evalsuite.report.export", "evalsuite.report.comparison_formats",
    "evalsuite.report.reproduction", "evalsuite.speed.forecast",
)  # fmt: skip
"""Modules that the processes have from the one that forks them."""

TOGETHER = 25
"""Attacks in one process."""


@dataclass(frozen=True)
class Seeds:
    """Good files, to be broken. results: a folder with records and their samples."""

    folder: Path
    task: dict[str, Any]
    table_task: dict[str, Any]
    shards_task: dict[str, Any]
    table: bytes
    json_lines: bytes
    shard: bytes
    parquet: bytes
    results: Path
    imported: bytes
    checkpoints: tuple[Path, ...]
    images: tuple[bytes, ...]


Target = Callable[[Seeds, random.Random, Path], tuple[str, Attack]]


def rounds(folder: Path, chance: random.Random) -> Iterator[Finding | None]:
    """Break one file after another."""
    import_everything()

    seeds, own = _seeds(folder), chance.getrandbits(64)
    for start in itertools.count(0, TOGETHER):
        numbers = range(start, start + TOGETHER)
        for number, well in zip(numbers, all_well(partial(_attack, seeds, own), numbers, folder), strict=True):
            if well:
                yield None
                continue
            ended = contained(_attack(seeds, own, number), folder)
            if not ended.fault:  # it was what others had left in the process
                yield None
                continue
            kept = folder.parent / f"{folder.name}-found-{number}"
            shutil.copytree(folder / "case", kept, dirs_exist_ok=True)
            yield Finding(f"{_broken(seeds, own, number)[0]}, input {number}, kept in {kept}", ended.fault)


def _broken(seeds: Seeds, own: int, number: int) -> tuple[str, Attack]:
    """Break a file; return what was broken and the attack with it. It follows from the numbers alone."""
    chance = random.Random(own + number)
    targets, weights = zip(*TARGETS, strict=True)
    target = chance.choices(targets, weights)[0]
    name, attack = target(seeds, chance, seeds.folder)
    return f"{target.__name__} {name}", attack


def _attack(seeds: Seeds, own: int, number: int) -> Attack:
    return lambda: _broken(seeds, own, number)[1]()


def import_everything() -> None:
    """Import what takes long, before processes are forked: they would import it again and again."""
    for name in SLOW_IMPORTS:
        importlib.import_module(name)
    from evalsuite.models.aliases import aliases
    from evalsuite.records import Result
    from evalsuite.tasks import TaskIndex

    TaskIndex().load("digits")  # the schema of task files is built when the first is read
    aliases(), Result.model_fields
    gc.collect()
    gc.freeze()  # a forked process that looks for garbage would copy the memory of all that was imported


def _seeds(folder: Path) -> Seeds:
    (folder / "case").mkdir()
    data = folder / "data"
    write_folder_task(data, train=3, test=2, size=8)
    task = yaml.safe_load((data / "shapes.yaml").read_text("utf-8"))
    rows = [["image", "label", "group"]]
    rows += [[f"test/{key}/{n:03d}.png", key, f"g{n}"] for key in ("red", "green", "blue") for n in range(2)]
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    lines = "".join(json.dumps(dict(zip(rows[0], row, strict=True))) + "\n" for row in rows[1:])
    members = {}
    for number, row in enumerate(rows[1:]):
        members[f"{number:04d}.png"] = (data / row[0]).read_bytes()
        members[f"{number:04d}.cls"] = str(number // 2).encode()
    results = folder / "results"
    run = ["run", "-m", "pixels", "-t", data / "shapes.yaml", "-o", results, "--log-samples"]
    ended = contained(partial(command, [*run, "--protocol", "linear_probe"]), folder)
    assert ended.code == 0 and not ended.fault, ended
    csv_file = folder / "table.csv"
    csv_file.write_text(LONG_TABLE)
    ended = contained(partial(command, ["import", csv_file]), folder)
    imported = next((folder / "home" / "imported").glob("*.json"))
    content = imported.read_bytes()
    shutil.rmtree(imported.parent)
    table_task = {**task, "sources": [{"kind": "table", "path": ".", "pools": {"train": "t.csv", "test": "t.csv"}}]}
    del table_task["sizes"]
    shards = {"kind": "webdataset", "path": "wds", "pools": {"train": "*.tar", "test": "*.tar"}}
    shards_task = {**table_task, "sources": [{**shards, "labels": {"by_index": "classes"}}]}
    return Seeds(
        folder, task, table_task, shards_task, text.getvalue().encode(), lines.encode(), tar_of(members),
        _hub_file(members), results,
        content, tuple(_checkpoints(folder)), tuple(_images()),
    )  # fmt: skip


def _hub_file(members: dict[str, bytes]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [{"bytes": content, "path": name} for name, content in members.items() if name.endswith("png")]
    keys = ["red", "red", "green", "green", "blue", "blue"]
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": images, "label": keys}), buffer)
    return buffer.getvalue()


def _checkpoints(folder: Path) -> Iterator[Path]:
    import torch
    from safetensors.torch import save_file

    state = {"a.weight": torch.ones(3, 4), "a.bias": torch.zeros(3)}
    for name, content in (("plain.pt", state), ("nested.ckpt", {"state_dict": state, "epoch": 3})):
        torch.save(content, folder / name)
        yield folder / name
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
    yield folder / "old.pth"
    save_file(state, folder / "weights.safetensors")
    yield folder / "weights.safetensors"
    np.savez(folder / "weights.npz", **{name: value.numpy() for name, value in state.items()})
    yield folder / "weights.npz"


def _images() -> Iterator[bytes]:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM", "ICO", "TGA", "JPEG2000"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        yield buffer.getvalue()


def _task_text(value: dict[str, Any], random: random.Random) -> bytes:
    """Return a broken task file: its text, its values or both."""
    kind = random.random()
    text = yaml.safe_dump(value, sort_keys=False).encode() if kind < 0.4 else b""
    if kind >= 0.4:
        text = as_yaml(broken_value(value, random), random).encode("utf-8", "surrogatepass")
    return broken_bytes(text, random) if kind < 0.5 else text


def task_file(seeds: Seeds, random: random.Random, folder: Path) -> tuple[str, Attack]:
    """Break a task file."""
    which = random.choice((seeds.task, seeds.task, seeds.table_task, seeds.shards_task))
    _write(folder, "data/fuzzed.yaml", _task_text(which, random))
    arguments = random.choice(
        (["validate", "--offline"], ["validate", "--offline"], ["describe"], ["ls", "tasks"],
         ["run", "--dry-run", "-m", "pixels", "-t"])
    )  # fmt: skip
    return arguments[0], partial(command, [*arguments, "data/fuzzed.yaml"])


def prompt_file(seeds: Seeds, random: random.Random, folder: Path) -> tuple[str, Attack]:
    """Break a prompt file."""
    _write(folder, "prompts.yaml", _task_text(PROMPTS, random))
    arguments = ["run", "-m", "pixels", "--dry-run", "-t", "data/shapes.yaml", "--prompts", "prompts.yaml"]
    return "run", partial(command, arguments)


def config_file(seeds: Seeds, random: random.Random, folder: Path) -> tuple[str, Attack]:
    """Break a configuration."""
    _write(folder, "config.yaml", _task_text(CONFIG, random))
    return "run -C", partial(command, ["run", "-C", "config.yaml", "--dry-run", "-o", "out2", "--cache-dir", "cache2"])


def foreign_table(seeds: Seeds, random: random.Random, folder: Path) -> tuple[str, Attack]:
    """Break results of another project."""
    if random.random() < 0.5:
        content = LONG_TABLE.encode()
        name = "foreign.csv"
    else:
        content, name = json.dumps(broken_value(EVALUATION, random)).encode(), "foreign.json"
    _write(folder, name, broken_bytes(content, random) if random.random() < 0.8 else content)
    return "import", partial(command, ["import", name, "--name", "fuzzed"])


def imported_table(seeds: Seeds, random: random.Random, folder: Path) -> tuple[str, Attack]:
    """Break an imported table."""
    _write(folder, "home/imported/clip-benchmark.json", _json(seeds.imported, random))
    arguments = ["leaderboard", "--published", "all", "-o", seeds.results]
    return "leaderboard", _then_removed(arguments, folder / "home/imported")


def published_table(seeds: Seeds, random: random.Random, folder: Path) -> tuple[str, Attack]:
    """Break the tables of the paper."""
    copied = folder / "case" / "published"
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(PAPERS, copied, ignore=shutil.ignore_patterns("layouts"))
    path = random.choice(sorted(file for file in copied.iterdir() if file.is_file()))
    content = path.read_bytes()
    if path.suffix == ".yaml" and random.random() < 0.5:
        content = as_yaml(broken_value(yaml.safe_load(content), random), random).encode("utf-8", "surrogatepass")
    else:
        content = broken_bytes(content, random)
    path.write_bytes(content)
    return path.name, partial(_papers, copied)


def record(seeds: Seeds, random: random.Random, folder: Path) -> tuple[str, Attack]:
    """Break a record."""
    results = _results_copy(seeds, folder)
    path = next(results.rglob("*.json"))
    path.write_bytes(_json(path.read_bytes(), random))
    arguments = random.choice(
        (["leaderboard"], ["leaderboard", "--format", "csv"], ["export", "csv"], ["compare", "--reproduce"],
         ["report", "--to", "case/page.html"], ["merge", results, "--to", "case/merged"])
    )  # fmt: skip
    return arguments[0], partial(command, arguments if "merge" in arguments else [*arguments, "-o", results])


def samples_table(seeds: Seeds, random: random.Random, folder: Path) -> tuple[str, Attack]:
    """Break a table of samples."""
    results = _results_copy(seeds, folder)
    path = next(results.rglob("*.parquet"))
    if random.random() < 0.7:
        path.write_bytes(broken_bytes(path.read_bytes(), random))
        return "bytes", partial(_samples, path) if random.random() < 0.8 else _report(results)
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    columns = table.to_pydict()
    broken = broken_value({name: list(values) for name, values in columns.items()}, random)
    try:
        changed = pa.table(broken).replace_schema_metadata(table.schema.metadata)
        pq.write_table(changed, path)
    except Exception:  # noqa: BLE001 - what pyarrow cannot write, nobody has to read
        path.write_bytes(broken_bytes(path.read_bytes(), random))
    return "values", partial(_samples, path) if random.random() < 0.8 else _report(results)


def checkpoint(seeds: Seeds, random: random.Random, folder: Path) -> tuple[str, Attack]:
    """Break a checkpoint."""
    whole = random.choice(seeds.checkpoints)
    suffix = random.choice((whole.suffix, ".pt", ".safetensors", ".bin"))
    path = _write(folder, f"weights{suffix}", broken_bytes(whole.read_bytes(), random))
    return f"{whole.name} as {suffix}", partial(_checkpoint, path)


def shard(seeds: Seeds, random: random.Random, folder: Path) -> tuple[str, Attack]:
    """Break a shard of a webdataset."""
    _write(folder, "data/wds/0.tar", broken_bytes(seeds.shard, random))
    _write(folder, "data/shards.yaml", yaml.safe_dump(seeds.shards_task).encode())
    return "validate", partial(command, ["validate", "--offline", "data/shards.yaml"])


def table(seeds: Seeds, random: random.Random, folder: Path) -> tuple[str, Attack]:
    """Break a table of labels."""
    name, content = random.choice((("t.csv", seeds.table), ("t.tsv", seeds.table), ("t.jsonl", seeds.json_lines)))
    _write(folder, f"data/{name}", broken_bytes(content, random))
    source = {"kind": "table", "path": ".", "pools": {"train": name, "test": name}, "group": "group"}
    task = {**seeds.table_task, "sources": [source], "splits": {"rule": "sample", "pool": "train", "train": 0.5}}
    _write(folder, "data/table.yaml", yaml.safe_dump(task).encode())
    return name, partial(command, ["validate", "--offline", "data/table.yaml"])


def parquet(seeds: Seeds, random: random.Random, folder: Path) -> tuple[str, Attack]:
    """Break a dataset in the layout of the hub."""
    _write(folder, "data/hub/train.parquet", broken_bytes(seeds.parquet, random))
    _write(folder, "data/hub/test.parquet", seeds.parquet)
    source = {"kind": "huggingface", "path": "hub", "pools": {"train": "train", "test": "test"}}
    _write(folder, "data/hub.yaml", yaml.safe_dump({**seeds.table_task, "sources": [source]}).encode())
    return "validate", partial(command, ["validate", "--offline", "data/hub.yaml"])


def image(seeds: Seeds, random: random.Random, folder: Path) -> tuple[str, Attack]:
    """Break an image."""
    path = _write(folder, "broken.png", broken_bytes(random.choice(seeds.images), random))
    return "decode", partial(_decode, path)


TARGETS: tuple[tuple[Target, float], ...] = (
    (task_file, 6), (prompt_file, 2), (config_file, 3), (foreign_table, 2), (imported_table, 2), (published_table, 2),
    (record, 3), (samples_table, 2), (checkpoint, 3), (shard, 2), (table, 2), (image, 3), (parquet, 1),
)  # fmt: skip
"""What is broken, and how often."""


def _write(folder: Path, name: str, content: bytes) -> Path:
    """Write a file, and keep a copy of it in `case`."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    (folder / "case" / path.name).write_bytes(content)
    return path


def _json(content: bytes, random: random.Random) -> bytes:
    if random.random() < 0.5:
        return broken_bytes(content, random)
    return json.dumps(broken_value(json.loads(content), random)).encode()


def _results_copy(seeds: Seeds, folder: Path) -> Path:
    copied = folder / "case" / "results"
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(seeds.results, copied)
    return copied


def _report(results: Path) -> Attack:
    return partial(command, ["report", "-o", results, "--to", "case/page.html"])


def _then_removed(arguments: list[Any], folder: Path) -> Attack:
    def attack() -> tuple[int, str]:
        ended = command(arguments)
        shutil.rmtree(folder)
        return ended

    return attack


def _said(work: Callable[[], object]) -> tuple[int, str]:
    """Call a function of the library, and print its error as the command line does."""
    from evalsuite.errors import EvalsuiteError
    from evalsuite.text import brief, printable

    try:
        work()
    except EvalsuiteError as error:
        return 1, f"Error: {printable(brief(str(error)))}"
    return 0, ""


def _papers(folder: Path) -> tuple[int, str]:
    from evalsuite.results.published import read_papers

    return _said(lambda: read_papers(folder))


def _samples(path: Path) -> tuple[int, str]:
    from evalsuite.results.samples import read_samples

    return _said(lambda: read_samples(path, scores=True))


def _checkpoint(path: Path) -> tuple[int, str]:
    from evalsuite.models.checkpoints import read_checkpoint

    return _said(lambda: read_checkpoint(path))


def _decode(path: Path) -> tuple[int, str]:
    from evalsuite.data.decoding import decode_image
    from evalsuite.models.preprocessing import to_rgb

    return _said(lambda: to_rgb(decode_image(path.read_bytes(), path.name)))
