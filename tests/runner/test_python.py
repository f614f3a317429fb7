"""What Python adds to the command line: torch modules as they are, lists, results for people and for trackers."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import evalsuite
from evalsuite.errors import JobError
from evalsuite.models.given import given_models
from evalsuite.records import ErrorRecord, Result
from tests.datasets import write_folder_task
from tests.models_for_tests import CountingModel


def shrink(image: Image.Image) -> torch.Tensor:
    """Turn an image into (3, 8, 8) in [0, 1]."""
    return torch.from_numpy(np.asarray(image.convert("RGB").resize((8, 8)), dtype=np.float32)).permute(2, 0, 1) / 255


class Colours(nn.Module):
    """A network that knows the mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Return (n, 3)."""
        return batch.mean(dim=(2, 3)) * self.weight


@pytest.fixture
def task(tmp_path: Path) -> str:
    """A folder dataset whose images have the colour of their class."""
    return str(write_folder_task(tmp_path / "shapes"))


def stores(tmp_path: Path) -> dict[str, Any]:
    return {"output": tmp_path / "out", "cache_dir": tmp_path / "cache"}


def test_a_torch_module_is_wrapped_where_its_preprocessing_is_given(tmp_path: Path, task: str) -> None:
    parallel = nn.DataParallel(Colours())
    (found,) = evalsuite.evaluate(parallel, task, "linear_probe", preprocess=shrink, **stores(tmp_path))
    assert (found.model, found.metric.value) == ("colours", 1.0)
    (named,) = evalsuite.evaluate(Colours(), task, "linear_probe", preprocess=shrink, name="mine", **stores(tmp_path))
    assert named.model == "mine"


SEEDING = """
import random
import numpy as np
import torch
from torch import nn

def network():
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(3)
    return nn.Flatten(), lambda image: torch.rand(3, 8, 8)
"""


def test_code_of_a_model_leaves_the_random_states_of_the_process(tmp_path: Path, task: str) -> None:
    def states() -> tuple[object, ...]:
        return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]

    (tmp_path / "mine.py").write_text(SEEDING)
    before = states()
    evalsuite.evaluate(f"{tmp_path}/mine.py:network", task, "knn", **stores(tmp_path)).raise_for_errors()
    assert states() == before


def test_a_network_is_left_on_its_device(tmp_path: Path, task: str) -> None:
    moves: list[str] = []

    class Watched(Colours):
        def to(self, device: Any) -> Watched:
            moves.append(str(device))
            return self

    evalsuite.evaluate(
        Watched(), task, "zero_shot,prototype", preprocess=shrink, device=torch.device("cpu"), **stores(tmp_path)
    )
    assert moves == ["cpu", "cpu"]  # there and back


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_network_on_a_gpu_is_evaluated_there_and_one_on_the_cpu_comes_back(tmp_path: Path, task: str) -> None:
    for home, used in (("cpu", "cuda:0"), (f"cuda:{torch.cuda.device_count() - 1}", None)):
        network = Colours().to(home)
        (found,) = evalsuite.evaluate(network, task, "prototype", preprocess=shrink, name=home, **stores(tmp_path))
        assert found.provenance.device == (used or home) and str(network.weight.device) == home


@pytest.mark.parametrize(
    ("models", "keywords", "words"),
    [
        (Colours(), {}, ["'Colours' is a torch module", "evaluate(module, preprocess=...)"]),
        ([Colours(), Colours()], {"preprocess": shrink}, ["2 torch modules", "evalsuite.wrap_module("]),
        ("pixels", {"preprocess": shrink}, ["none is given"]),
        ({"encoder": 1}, {}, ["dict is no model", "preprocess=..."]),
        (CountingModel, {}, ["type is no model"]),
        ([], {}, ["no model is chosen"]),
        ("", {}, ["no model is chosen"]),
    ],
)
def test_what_is_no_model_is_refused_in_words(models: Any, keywords: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(evalsuite.UsageError) as caught:
        evalsuite.evaluate(models, "digits", **keywords)
    assert all(word in str(caught.value) for word in words), caught.value
    assert len(str(caught.value).splitlines()) == 1


def test_a_text_is_split_at_its_commas_and_a_list_is_what_it_is(tmp_path: Path, task: str) -> None:
    assert given_models("pixels, ViT-B-32,openai") == ["pixels", "ViT-B-32,openai"]
    assert given_models(["ViT-B-32,openai"]) == ["ViT-B-32,openai"]
    comma = str(write_folder_task(tmp_path / "a,b"))
    found = evalsuite.evaluate([CountingModel()], [comma], ["linear_probe"], **stores(tmp_path))
    assert [result.status for result in found] == ["ok"]
    with pytest.raises(evalsuite.UsageError, match=r"'zero_shot,linear_probe'"):
        evalsuite.evaluate(CountingModel(), task, ["zero_shot,linear_probe"], **stores(tmp_path))
    assert (
        len(evalsuite.evaluate(CountingModel(), f"{task},{task}", "zero_shot, linear_probe", **stores(tmp_path))) == 2
    )
    rows = evalsuite.leaderboard(tmp_path / "out", protocols="zero_shot,linear_probe", tasks="shapes").rows
    assert {row.protocol for row in rows} == {"zero_shot", "linear_probe"}


def test_one_folder_of_task_files_needs_no_list(tmp_path: Path) -> None:
    write_folder_task(tmp_path / "mine", name="mine")
    found = evalsuite.evaluate(CountingModel(), "mine", "zero_shot", include_paths=str(tmp_path), **stores(tmp_path))
    assert found[0].status == "ok"


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"limit": "ten"}, "--limit ten"),
        ({"limit": "0"}, "--limit 0"),
        ({"limit": True}, "--limit True"),
        ({"limit": 10.5}, "--limit 10.5"),
        ({"data_root": "nowhere"}, "--data-root nowhere: there is no such folder"),
        ({"protocols": []}, "no protocol is chosen"),
        ({"cache": "none"}, "cache='none': choose keep, last, off"),
        ({"ranks": "first"}, "ranks='first': choose together, each"),
        ({"reporter": "bars"}, "reporter='bars': choose auto, tqdm, log, none"),
        ({"log_to": "wandbb"}, "--log-to wandbb: .*Did you mean wandb"),
        ({"cache": "off", "log_samples": True}, "log_samples with cache='off' keeps nothing"),
    ],
)
def test_a_wrong_option_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keywords: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    model = CountingModel()
    with pytest.raises(evalsuite.UsageError, match=message):
        evalsuite.evaluate(model, "digits", **keywords)
    assert model.encoded == 0 and not list(tmp_path.iterdir())


def test_published_rows_need_no_results_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalsuite.config.default_output", lambda: tmp_path / "nothing")
    everything = evalsuite.leaderboard(published="all", protocols="linear_probe")
    assert len(everything.rows) == 66 and len(everything.tasks) == 27
    some = evalsuite.leaderboard(published="resnet/50,clip/vit-b-32", protocols="linear_probe", groups="main")
    assert {row.model for row in some.rows} == {"resnet/50", "clip/vit-b-32"} and "ocr" in some.groups
    with pytest.raises(evalsuite.UsageError, match="There is no results folder"):
        evalsuite.leaderboard("nowhere")


def test_two_models_are_compared_from_python(tmp_path: Path, task: str) -> None:
    blind = CountingModel(fingerprint="blind")
    blind.info = blind.info.model_copy(update={"name": "blind", "slug": "blind"})
    blind.encode_images = lambda batch: dict.fromkeys(("penultimate", "embedding"), torch.ones(len(batch), 3))  # type: ignore[method-assign]
    evalsuite.evaluate([CountingModel(), blind], task, "linear_probe", log_samples=True, **stores(tmp_path))
    found = evalsuite.compare("counting", "blind", output=tmp_path / "out")
    frame = found.to_frame()
    assert frame.loc[0, ["task", "first", "outcome"]].tolist() == ["shapes", 100.0, "win"]
    assert frame.loc[0, "difference"] == pytest.approx(100 * 2 / 3)
    page = found._repr_html_()
    assert "<table>" in page and "<td>shapes</td>" in page and "exact McNemar" in page
    paper = evalsuite.compare("published:clip/vit-b-32", "published:resnet/50", protocols="linear_probe", tasks="mnist")
    assert len(paper.rows) == 1


@pytest.fixture
def results(tmp_path: Path, task: str) -> evalsuite.Results:
    """Two protocols of one model on one task."""
    return evalsuite.evaluate(CountingModel(), task, **stores(tmp_path))


def test_results_are_flat_numbers_for_a_tracker(tmp_path: Path, task: str, results: evalsuite.Results) -> None:
    flat = results.to_dict()
    assert flat["shapes/zero_shot/accuracy"] == flat["shapes/linear_probe/accuracy"] == 1.0
    assert 0 < flat["shapes/linear_probe/low"] < 1 == flat["shapes/linear_probe/high"]
    assert {"shapes/zero_shot/top1", "shapes/zero_shot/ece"} <= flat.keys()
    assert all(type(value) is float for value in flat.values())
    part = evalsuite.evaluate(CountingModel(), task, "linear_probe", limit=6, seed=1, **stores(tmp_path)).to_dict()
    assert "shapes/linear_probe.limit-6.seed-1/accuracy" in part
    prompted = evalsuite.evaluate(CountingModel(), task, "zero_shot", prompts="names", **stores(tmp_path)).to_dict()
    assert "shapes/zero_shot.prompts-names/accuracy" in prompted
    two = [CountingModel(), CountingModel(fingerprint="later")]
    names = evalsuite.evaluate(two, task, "zero_shot", **stores(tmp_path)).to_dict()
    assert len([name for name in names if name.startswith("counting@") and name.endswith("/accuracy")]) == 2


def test_errors_are_raised_where_asked_and_never_numbers(results: evalsuite.Results) -> None:
    assert results.raise_for_errors() is results
    failure = results[0].model_copy(
        update={
            "status": "error", "metric": None, "metrics": {},
            "error": ErrorRecord(kind="DataError", message="<b>000.png</b> is\ntruncated"),
        }
    )  # fmt: skip
    failed = evalsuite.Results([results[1], *[failure] * 6])
    with pytest.raises(JobError) as caught:
        failed.raise_for_errors()
    lines = str(caught.value).splitlines()
    assert lines[0] == "6 of 7 results failed:" and len(lines) == 6 and lines[-1] == "  and 2 more"
    assert lines[1] == "  counting shapes zero_shot: <b>000.png</b> is truncated"
    assert not any("zero_shot" in name for name in failed.to_dict())
    assert "error: &lt;b&gt;000.png" in failed._repr_html_() and "error: <b>000.png" in repr(failed)


def test_results_and_leaderboards_are_tables_in_a_notebook(tmp_path: Path, results: evalsuite.Results) -> None:
    page = results._repr_html_()
    assert page.count("<tr>") == 3 and "<td>100.00</td>" in page and "66.37 to 100.00" not in page
    partial: Result = results[1].model_copy(update={"status": "partial", "warnings": ["a < b"]})
    marked = evalsuite.Results([partial])._repr_html_()
    assert "<td>100.00*</td>" in marked and "part of the samples" in marked and "a &lt; b" in marked
    board = evalsuite.leaderboard(tmp_path / "out")._repr_html_()
    assert board.startswith("<table>") and "<strong>100.0</strong>" in board


def test_an_option_that_no_protocol_of_the_call_reads_is_named(
    tmp_path: Path, task: str, caplog: pytest.LogCaptureFixture
) -> None:
    evalsuite.evaluate(CountingModel(), task, "zero_shot", knn_k=3, **stores(tmp_path))
    assert "knn_k does nothing in this call: it is of knn." in caplog.text


def test_progress_goes_through_logging_or_bars(
    tmp_path: Path, task: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, "evalsuite.run"):
        evalsuite.evaluate(CountingModel(), task, "zero_shot", reporter="log", **stores(tmp_path))
    said = [record.getMessage() for record in caplog.records if record.name == "evalsuite.run"]
    assert said[0] == "counting on shapes: zero_shot" and said[-1].startswith(
        "[1/1] counting shapes zero_shot: accuracy"
    )
    assert capsys.readouterr() == ("", "")
    evalsuite.evaluate(CountingModel(fingerprint="2"), task, "zero_shot", reporter="tqdm", **stores(tmp_path))
    shown = capsys.readouterr()
    assert "[1/1] counting shapes zero_shot: accuracy 100.00 %" in shown.err and not shown.out
    assert "counting shapes/test" in shown.err and "/9" in shown.err
    evalsuite.evaluate(CountingModel(fingerprint="3"), task, "zero_shot", **stores(tmp_path))
    assert capsys.readouterr() == ("", "")
