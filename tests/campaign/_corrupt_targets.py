"""Kinds of stored files, each with how it is written and how it is used."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch

from evalsuite import evaluate
from evalsuite.cli.verifying import others
from evalsuite.data.place import DataPlace
from evalsuite.errors import UsageError
from evalsuite.features import sums
from evalsuite.features.catalog import entries, verify
from evalsuite.features.encoding import encode_batches
from evalsuite.features.extraction import PassOptions, ensure_features
from evalsuite.features.store import PoolFeatures
from evalsuite.features.texts import EmbeddedTexts, text_embeddings
from evalsuite.features.verifying import damaged_notes
from evalsuite.hashing import file_sha256
from evalsuite.protocols.base import Head
from evalsuite.records import Interval, MetricRecord, Result
from evalsuite.resources import data_dir
from evalsuite.results.bias_tables import read_bias_paper
from evalsuite.results.figures import FiguresFile, RetrievalTable
from evalsuite.results.heads import HeadClass, HeadDescription, head_files, read_head
from evalsuite.results.imported import ImportedRow, ImportedTable, ImportedTask, read_imported, store_imported
from evalsuite.results.layouts import Layout
from evalsuite.results.library import Library
from evalsuite.results.published import read_description
from evalsuite.results.samples import gives_its_value, samples_of, value_of
from evalsuite.results.shift import read_shift_tables
from evalsuite.results.store import ResultStore, load_stored
from evalsuite.results.verifying import verify_results
from evalsuite.runner.known_models import KnownModel
from evalsuite.speed.record import Speed, find, keep, this_machine
from tests.datasets import write_folder_task
from tests.models_for_tests import CountingModel, array_pool

UNSEEN = "cache verify calls it ok"
GONE = "a record is gone without a word"


def another(truth: Any, found: Any) -> str:
    """Say that what was read is not what was written; "" where it is."""
    return "" if truth == found else f"silent: {truth} was read as {found}"[:600]


@dataclass(frozen=True)
class Target:
    """A kind of stored file.

    build: writes a store into a folder. use: reads it as the program does. files: what is damaged. heals: whether what
    is damaged is computed again, so that even a clear error is too little. weight: how often, among the others.
    """

    name: str
    build: Callable[[Path], None]
    use: Callable[[Path], Any]
    heals: bool = False
    weight: float = 1.0
    differs: Callable[[Any, Any], str] = another
    pattern: str = "**/*"

    def files(self, store: Path) -> list[Path]:
        """Return what may be damaged, locks excepted."""
        found = sorted(path for path in store.glob(self.pattern) if path.is_file())
        return [path for path in found if path.stat().st_size and path.name not in ("lock", ".lock", "lock.owner")]


POOLS = ("model-aaaaaaaaaaaa/task.train-000000000000", "model-bbbbbbbbbbbb/task.train-000000000000")


def _pass(folder: Path, seed: int) -> PoolFeatures:
    pool, model, store = array_pool(seed=seed), CountingModel(), PoolFeatures(folder)
    ensure_features(
        pool,
        range(len(pool)),
        store,
        lambda: (model.preprocess, partial(encode_batches, model, torch.device("cpu"), "fp32")),
        PassOptions(batch_size=4, workers=0),
    )
    return store


def _write_features(store: Path) -> None:
    with mock.patch.object(sums, "PART_BYTES", 64):
        for seed, name in enumerate(POOLS):
            _pass(store / name, seed)


def _write_shards(store: Path) -> None:
    with mock.patch.object(PoolFeatures, "compact"), mock.patch("evalsuite.features.extraction.SHARD_SAMPLES", 8):
        for seed, name in enumerate(POOLS):
            _pass(store / name, seed)


def _use_features(store: Path) -> Any:
    found = [_pass(store / name, seed) for seed, name in enumerate(POOLS)]
    if left := [problem for features in found for problem in features.damaged()]:
        return left
    return [
        features.read(layer, sorted(features.ids())).tolist()
        for features in found
        for layer in ("penultimate", "embedding")
    ]


def _merge_features(store: Path) -> Any:
    """Merge what is there first, so that what is damaged could get new checksums, and then use it."""
    for name in POOLS:
        PoolFeatures(store / name).compact()
    return _use_features(store)


TEXTS = (["red", "a green one"], ["blue", "red", "green"])


def _use_texts(store: Path) -> Any:
    def encode(texts: Sequence[str]) -> EmbeddedTexts:
        return EmbeddedTexts(CountingModel().encode_texts(texts), [0])

    folders = [store / "model-aaaaaaaaaaaa" / "texts", store / "model-bbbbbbbbbbbb" / "texts"]
    found = [text_embeddings(folder, texts, encode) for folder in folders for texts in TEXTS]
    return [(item.embedding.tolist(), item.cut) for item in found]


def _result(model: str, task: str, right: int, n: int = 100) -> Result:
    value = right / n
    interval = Interval(max(0.0, value - 0.1), min(1.0, value + 0.1), 0.995, "clopper-pearson")
    metric = MetricRecord(name="accuracy", value=value, n=n, interval=interval)
    names = {"model": model, "model_name": model.upper(), "task": task, "protocol": "zero_shot", "fingerprint": "f"}
    return Result(status="ok", metric=metric, metrics={"top1": value, "top5": 0.995}, **names)


def _write_records(store: Path) -> None:
    for number, (model, task) in enumerate((m, t) for m in ("clip/a", "clip/b") for t in ("mnist", "dtd")):
        ResultStore(store).write(_result(model, task, 50 + number), f"weights of {model}")


def _use_records(store: Path) -> Any:
    stored, warnings = load_stored([store])
    return {f"{item.result.model} {item.result.task}": item.result.model_dump() for item in stored}, warnings


def _records_differ(truth: Any, found: Any) -> str:
    (before, _), (after, warnings) = truth, found
    if changed := [job for job, record in after.items() if before.get(job) != record]:
        return f"silent: {changed} differ"
    return "" if warnings or before == after else GONE


def _write_samples(store: Path) -> None:
    from tests.report.conftest import Bench

    bench = Bench(store)
    for protocol in ("zero_shot", "linear_probe"):
        bench.add("m/a", "mnist", 0.5, n=30, protocol=protocol, seed=len(protocol))
        bench.add("m/b", "dtd", 0.5, n=30, metric="mean_per_class_recall", protocol=protocol)


def _use_samples(store: Path) -> Any:
    found = []
    for item in load_stored([store])[0]:
        logged = samples_of(item, scores=True)
        metric = item.result.metric
        if logged is not None and metric and gives_its_value(item.result, value_of(logged, metric.name)):
            answers = logged.scores.tolist(), logged.predictions.tolist(), logged.labels.tolist()
            found.append((item.result.task, item.result.protocol, logged.ids.tolist(), *answers))
    return found


def _samples_differ(truth: Any, found: Any) -> str:
    return "" if all(item in truth for item in found) else "silent: other predictions"


def _write_imports(store: Path) -> None:
    os.environ["EVALSUITE_HOME"] = str(store)
    for name, score in (("open-clip", 0.6332), ("other", 0.5)):
        row = ImportedRow(slug="clip/vit-b-32", model="ViT-B-32 openai", protocol="zero_shot", scores={"mnist": score})
        tasks = {"mnist": ImportedTask(metric="accuracy", test_size=10_000)}
        about = {"layout": "open-clip", "title": "t", "url": "u", "created": "2026-01-01T00:00:00Z", "files": {}}
        table = {"name": name, "notes": {"zero_shot": "n"}, "tasks": tasks, "rows": (row,), **about}
        store_imported(ImportedTable.model_validate(table))


def _use_imports(store: Path) -> Any:
    os.environ["EVALSUITE_HOME"] = str(store)
    return {(item.origin.table, item.task, item.value, item.n, item.metric) for item in read_imported()}


def _imports_differ(truth: Any, found: Any) -> str:
    return "" if found <= truth else another(truth, found)  # a file that was removed is an import that was


def _write_published(store: Path) -> None:
    import shutil

    shutil.copytree(data_dir("results/published"), store)


def _use_published(store: Path) -> Any:
    layouts = [read_description(path, Layout) for path in (store / "layouts").glob("*.yaml")]
    described = [
        *(paper.described for paper in Library(store).papers),
        *read_shift_tables(store / "shift"),
        read_bias_paper(store / "bias"),
        read_description(store / "figures" / "clip_paper.yaml", FiguresFile),
        read_description(store / "retrieval" / "clip_paper.yaml", RetrievalTable),
    ]
    printed = [(item.model, item.protocol, item.task, item.value, item.n) for item in Library(store).printed]
    return [*printed, *(item.model_dump() for item in [*layouts, *described])]


def _among(truth: Any, found: Any) -> str:
    return "" if all(item in truth for item in found) else "silent: other numbers"


def _write_heads(store: Path) -> None:
    for number, task in enumerate(("mnist", "dtd")):
        random = np.random.default_rng(number)
        keys = [HeadClass(key=f"c{place}", names=[f"class {place}"]) for place in range(3)]
        described = HeadDescription(
            task=task, protocol="zero_shot", classes=keys, multilabel=False, layer="penultimate", dim=4, model="clip/a",
            model_name="A", model_fingerprint="m", preprocessing="p", precision="fp32", fingerprint=task,
        )  # fmt: skip
        head = head_files(Head(random.normal(size=(3, 4)), random.normal(size=3)), described)
        result = _result("clip/a", task, 50 + number).model_copy(update={"fingerprint": task})
        ResultStore(store).write(result, "weights of clip/a", head=head)


def _use_heads(store: Path) -> Any:
    found = []
    for task in ("mnist", "dtd"):
        try:
            (record,) = store.glob(f"*/{task}.zero_shot.json")
            head = read_head(record)
            found.append((task, head.head.weights.tolist(), head.head.intercepts.tolist(), head.described.model_dump()))
        except (UsageError, ValueError):  # ValueError: the record was removed
            continue
    return found, verify_results(store).problems


def _heads_differ(truth: Any, found: Any) -> str:
    (before, _), (after, problems) = truth, found
    return _among(before, after) or ("" if after == before or problems else UNSEEN)


def _machine(key: str) -> Any:
    known = SimpleNamespace(run_key=key)
    return SimpleNamespace(known=lambda: known, device=torch.device("cpu"), devices=1)


def _write_speeds(store: Path) -> None:
    for number, key in enumerate(("one", "other"), 3):
        keep(
            Speed(
                model="m", run_key=key, precision="fp32", machine=this_machine(_machine(key)),
                decode={"pillow": 100.0 * number}, encode={16: 300.0 * number}, copied=None, texts=1.0, probe=1e6,
                dim=9,
            ),
            store,
        )  # fmt: skip


def _use_speeds(store: Path) -> Any:
    found = [find(_machine(key), store) for key in ("one", "other")]
    return [speed.model_dump() for speed in found if speed], list(damaged_notes(store))


def _write_known(store: Path) -> None:
    store.mkdir(parents=True)
    for number in range(3):
        (store / f"{number}.bin").write_bytes(bytes([number]) * 100)
        file_sha256(store / f"{number}.bin", store)


def _use_known(store: Path) -> Any:
    return [file_sha256(store / f"{number}.bin", store) for number in range(3)]


def _write_parquet(store: Path) -> None:
    import datasets
    import numpy as np

    datasets.disable_progress_bars()
    for split, seed in (("train", 0), ("test", 1)):
        images = np.random.default_rng(seed).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
        rows = {"image": list(images), "label": [row % 2 for row in range(6)]}
        (store / "data").mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(rows, features=features).to_parquet(store / "data" / f"{split}.parquet")
    (store / "pets.yaml").write_text(
        "title: Pets\nclasses: [cat, dog]\nprompts: {templates: ['{}']}\n"
        "sources: [{kind: huggingface, path: data, pools: {train: train, test: test}}]\n"
        "sizes: {train: 6, test: 6}\nsplit_fidelity: {level: convention, why: For a test.}\n"
    )
    _use_parquet(store)


def _use_parquet(store: Path) -> Any:
    from evalsuite.data.opening import open_task
    from evalsuite.tasks import TaskIndex

    place = DataPlace(data_root=store, cache_dir=store / "cache", offline=True)
    data = open_task(TaskIndex([store]).load("pets"), place)
    pools = [data.open_pool(name) for name in ("train", "test")]
    return [(pool.fingerprint, pool.labels.tolist(), [pool.content(row) for row in range(6)]) for pool in pools]


def _write_descriptions(store: Path) -> None:
    for name in POOLS:
        _known(store, name).describe(CountingModel(fingerprint=name))


def _use_descriptions(store: Path) -> Any:
    found = []
    for name in POOLS:
        if _known(store, name).description() is None:  # the model is loaded then
            _known(store, name).describe(CountingModel(fingerprint=name))
        found.append(_known(store, name).description())
    return found


def _known(store: Path, name: str) -> KnownModel:
    return KnownModel("run key", store / "features" / name.partition("/")[0])


def _write_run(store: Path) -> None:
    write_folder_task(store.parent / "images")
    _run(store)


def _use_run(store: Path) -> Any:
    """Look at everything, then ask for the results again."""
    cache = store / "cache"
    problems = [problem for entry in entries(cache) for problem in verify(entry, None)]
    for checked in others(cache, [store / "results"], lambda model, task: True, None):
        problems += checked.problems
    return problems, _run(store)


def _run(store: Path) -> Any:
    found = evaluate(
        [CountingModel()],
        str(store.parent / "images" / "shapes.yaml"),
        output=store / "results",
        cache_dir=store / "cache",
        data_root=store.parent / "images",
        log_samples=True,
        save_head=True,
    )
    left_out = {"timings", "provenance"}
    return [result.model_dump(exclude=left_out) for result in found]


def _run_differs(truth: Any, found: Any) -> str:
    if truth[1] != found[1]:
        return another(truth[1], found[1])
    return "" if found[0] else UNSEEN


TARGETS: Sequence[Target] = (
    Target("features", _write_features, _use_features, heals=True, weight=4),
    Target("features_merged", _write_features, _merge_features, heals=True, weight=2),
    Target("shards", _write_shards, _use_features, heals=True, weight=2),
    Target("shards_merged", _write_shards, _merge_features, heals=True, weight=2),
    Target("texts", _use_texts, _use_texts, heals=True, weight=2),  # type: ignore[arg-type]
    Target("records", _write_records, _use_records, weight=4, differs=_records_differ),
    Target("samples", _write_samples, _use_samples, weight=3, differs=_samples_differ, pattern="**/*.parquet"),
    Target("imports", _write_imports, _use_imports, weight=2, differs=_imports_differ),
    Target("published", _write_published, _use_published, weight=0.5, differs=_among, pattern="**/*.[cy]*"),
    Target("heads", _write_heads, _use_heads, weight=1, differs=_heads_differ),
    Target("speeds", _write_speeds, _use_speeds, weight=1, differs=_heads_differ),
    Target("checksums", _write_known, _use_known, heals=True, weight=1, pattern="*.json"),
    Target("descriptions", _write_descriptions, _use_descriptions, heals=True, weight=1),
    Target("runs", _write_run, _use_run, heals=True, weight=1.5, differs=_run_differs),
    Target("copies", _write_parquet, _use_parquet, heals=True, weight=0.5, pattern="cache/**/*"),
)
