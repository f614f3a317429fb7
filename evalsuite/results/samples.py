"""The table of per-sample predictions that `--log-samples` leaves next to a record: how it is read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evalsuite.errors import EvalsuiteError
from evalsuite.metrics import METRICS, Labels, Scores
from evalsuite.records import Result
from evalsuite.results.store import StoredResult
from evalsuite.seals import sha256_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

CLASSES = b"classes"
"""Key of the schema's metadata that holds the class keys as JSON, in the order of the columns of scores."""

ROWS_AT_A_TIME = 4096

MOST_ROWS = 5_000_000
"""Samples of a table, over all folds; ImageNet's validation images are 50,000."""

MOST_LETTERS = 1 << 28
"""Of all names of samples, each as long as the longest: numpy gives them so much room."""

_NO_TABLE = (OSError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, MemoryError, RecursionError)
"""What comes of columns that hold something else than samples."""

TOLERANCE = 1e-6
"""How far a value computed from the logged samples may be from the recorded one: the order of sums in float32."""


@dataclass(frozen=True)
class LoggedSamples:
    """What a model answered, the rows sorted by fold and sample id.

    folds: (n,) numbers; ids: (n,); classes: the key of each column of scores; labels: as a metric takes them, (n,)
    columns or (n, C) in {1, 0, -1}; predictions: (n,) columns; scores: (n, C), or (n, 0) where they were not asked for.
    """

    folds: NDArray[np.int64]
    ids: NDArray[np.str_]
    classes: tuple[str, ...]
    labels: Labels
    predictions: NDArray[np.int64]
    scores: Scores


def with_classes(frame: pd.DataFrame, classes: Sequence[str]) -> pa.Table:
    """Return a table of samples that says which class each column of its scores is."""
    import pyarrow as pa

    table = pa.Table.from_pandas(frame, preserve_index=False)
    return table.replace_schema_metadata({**(table.schema.metadata or {}), CLASSES: json.dumps(list(classes))})


def samples_of(stored: StoredResult, *, scores: bool) -> LoggedSamples | None:
    """Return the samples of a record, with or without their scores; None where there is no table.

    EvalsuiteError for one that is damaged or is no table of samples.
    """
    path, digest = stored.samples, stored.result.samples_digest
    if path is None:
        return None
    if digest is not None and _digest(path) != digest:
        raise EvalsuiteError(f"{path} is damaged, or of another record; log it again with --log-samples --overwrite.")
    return read_samples(path, scores=scores)


def gives_its_value(result: Result, value: float) -> bool:
    """Tell whether samples that give `value` may be those of a record; else another run wrote them."""
    return result.metric is not None and math.isclose(value, result.metric.value, abs_tol=TOLERANCE)


def value_of(logged: LoggedSamples, metric: str) -> float:
    """Return the value of a metric, the mean over the folds. logged: with scores, and at least one row."""
    parts = [logged.folds == fold for fold in np.unique(logged.folds)]
    compute = METRICS.get(metric).compute
    return float(np.mean([compute(logged.scores[part], logged.labels[part]) for part in parts]))


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise EvalsuiteError(f"{path} cannot be read ({error.strerror or error}).") from error


def read_samples(path: Path, *, scores: bool) -> LoggedSamples:
    """Read the table at `path`, with or without its scores; EvalsuiteError for what is no table of samples."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if pq.read_metadata(path).num_rows > MOST_ROWS:
            raise EvalsuiteError(f"{path} has more than {MOST_ROWS:,} rows.")
        schema = pq.read_schema(path)
        wanted = ["sample", "fold", "label", "prediction", *({"ignored"} & set(schema.names))]
        table = pq.read_table(path, columns=wanted)
        metadata = schema.metadata or {}
        if CLASSES not in metadata:
            raise EvalsuiteError(f"{path} does not name its classes; log it again with --log-samples --overwrite.")
        classes = tuple(json.loads(metadata[CLASSES]))
        names = table["sample"].to_pylist()
        if max(map(len, names), default=0) * len(names) > MOST_LETTERS:
            raise EvalsuiteError(f"{path} has names of samples that are too long to be any.")
        folds, ids = table["fold"].to_numpy().astype(np.int64), np.array(names, dtype=np.str_)
        order = np.lexsort([ids, folds])
        logits = _scores(path, len(classes), order) if scores else np.empty((len(table), 0))
    except (*_NO_TABLE, pa.ArrowException) as error:
        raise EvalsuiteError(f"{path} cannot be read as a table of samples ({error}).") from error
    columns = {key: column for column, key in enumerate(classes)}
    try:
        labels = _labels(table, columns)[order]
        predictions = _columns(table["prediction"].to_pylist(), columns)[order]
    except _NO_TABLE as error:
        raise EvalsuiteError(f"{path} does not fit the classes it names ({error}).") from error
    return LoggedSamples(folds[order], ids[order], classes, labels, predictions, logits)


def _labels(table: pa.Table, columns: dict[str, int]) -> Labels:
    if "ignored" not in table.column_names:
        return _columns(table["label"].to_pylist(), columns)
    labels = np.zeros((len(table), len(columns)), dtype=np.int64)
    for name, mark in (("label", 1), ("ignored", -1)):
        for row, keys in enumerate(table[name].to_pylist()):
            labels[row, [columns[key] for key in keys]] = mark
    return labels


def _columns(keys: Iterable[str], columns: dict[str, int]) -> NDArray[np.int64]:
    return np.array([columns[key] for key in keys], dtype=np.int64)


def _scores(path: Path, n_classes: int, order: NDArray[np.int64]) -> Scores:
    """Return the scores, row `order[i]` of the file as row i; by parts, so that 50,000 x 1,000 are there only once."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, memory_map=True) as file:
        kind = file.schema_arrow.field("scores").type.value_type.to_pandas_dtype()
        scores: Scores = np.empty((len(order), n_classes), kind)
        place, start = np.argsort(order), 0
        for batch in file.iter_batches(ROWS_AT_A_TIME, columns=["scores"]):
            part = batch.column(0).flatten().to_numpy(zero_copy_only=False)
            scores[place[start : start + len(batch)]] = part.reshape(len(batch), n_classes)
            start += len(batch)
    return scores
