"""Records as the first version wrote them, in `old_store`: read with every number and under both names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evalsuite.records import ModelInfo, SplitFidelity
from evalsuite.results.store import ResultStore, read_result
from tests.results.conftest import load_results

STORE = Path(__file__).with_name("old_store")
FILES = sorted(STORE.rglob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_everything_an_old_record_says_is_kept(path: Path) -> None:
    written = json.loads(path.read_text())
    read = read_result(path).model_dump(mode="json")
    assert read["run_key"] == written["model_fingerprint"]
    assert read["model_fingerprint"] == written["model_info"].get("fingerprint", "")
    moved = {"model_fingerprint": read["run_key"], "model_info": read["model_info"] or {}}
    assert {name: value for name, value in (read | moved).items() if name != "run_key"} == written


def test_old_records_lie_where_the_run_key_says(tmp_path: Path) -> None:
    store = ResultStore(STORE)
    for result in load_results([STORE])[0]:
        path = store.path(result.model, result.run_key, result.task, result.protocol)
        assert path in FILES
        assert store.find_value(
            result.model, result.run_key, result.task, result.protocol, None, result.fingerprint
        ) == (result if result.status == "ok" else None)
        again = ResultStore(tmp_path).write(result, result.run_key)  # in the new form, and to the same name
        assert again.relative_to(tmp_path) == path.relative_to(STORE)
        assert read_result(again) == result


def test_what_is_known_of_model_and_splits_has_types() -> None:
    found = {(result.model, result.protocol): result for result in load_results([STORE])[0]}
    probe, blind = found["pocket", "linear_probe"], found["pixels", "zero_shot"]
    assert isinstance(probe.model_info, ModelInfo) and probe.model_info.layers == {"penultimate": 64, "embedding": 64}
    assert probe.data is not None and isinstance(probe.data.split_fidelity, SplitFidelity)
    assert probe.split_level == "convention" and blind.split_level is None and blind.model_info is None
    assert probe.model_fingerprint == found["pocket", "zero_shot"].model_fingerprint != probe.run_key
