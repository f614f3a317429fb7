"""The tables of per-sample predictions, held against what pandas reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from evalsuite.errors import EvalsuiteError
from evalsuite.results.samples import ROWS_AT_A_TIME, read_samples, with_classes

N = 2 * ROWS_AT_A_TIME + 17
"""Rows of a table: several parts, the last one short."""


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(N, 3)).astype(np.float32)
    return pd.DataFrame(
        {
            "sample": [f"{row:06}.png" for row in rng.permutation(N)],
            "fold": rng.integers(0, 2, N),
            "label": rng.choice(["a", "b", "c"], N),
            "prediction": np.array(["a", "b", "c"])[scores.argmax(axis=1)],
            "scores": list(scores),
        }
    )


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_rows_are_sorted_by_fold_and_sample_and_stay_together(tmp_path: Path, kind: type[np.floating]) -> None:
    written = frame()
    written["scores"] = [row.astype(kind) for row in written["scores"]]
    pq.write_table(with_classes(written, ["a", "b", "c"]), tmp_path / "s.parquet")
    expected = written.sort_values(["fold", "sample"])
    found = read_samples(tmp_path / "s.parquet", scores=True)
    assert found.ids.tolist() == expected["sample"].tolist() and found.folds.tolist() == expected["fold"].tolist()
    assert [found.classes[column] for column in found.labels] == expected["label"].tolist()
    assert found.scores.dtype == kind
    assert np.array_equal(found.scores, np.stack(expected["scores"]))
    assert read_samples(tmp_path / "s.parquet", scores=False).scores.shape == (N, 0)


def test_tables_that_are_none_are_named(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    for table, classes in (
        (frame().drop(columns="scores"), ["a", "b", "c"]),
        (frame().drop(columns="label"), ["a", "b", "c"]),
        (frame(), ["a", "b", "c", "d"]),
        (frame(), ["a", "b", "d"]),
    ):
        pq.write_table(with_classes(table, classes), path)
        with pytest.raises(EvalsuiteError, match=r"s\.parquet (cannot be read|does not fit the classes)"):
            read_samples(path, scores=True)
    pq.write_table(with_classes(frame(), ["a", "b", "c"]), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + bytes(len(whole) // 2) + whole[4 + len(whole) // 2 :])
    with pytest.raises(EvalsuiteError, match=r"s\.parquet cannot be read"):
        read_samples(path, scores=True)
