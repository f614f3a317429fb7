"""`evalsuite run` as a person sees it: what is printed, what is stored, the exit code."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.cli.conftest import (
    STORES,
    by_protocol,
    contents,
    records,
)
from tests.processes import WarmCli


def test_a_run_stores_what_it_measured(finished_run: Path) -> None:
    found = by_protocol(finished_run / "out")
    assert {name: (r["status"], r["metric"]["value"]) for name, r in found.items()} == {
        "zero_shot": ("ok", 1.0),
        "linear_probe": ("ok", 1.0),
    }
    # every image once: the training images for the probe, which finds the test images encoded
    assert found["zero_shot"]["timings"]["images_encoded"] == 9
    assert found["linear_probe"]["timings"]["images_encoded"] == 18
    assert found["linear_probe"]["data"]["sizes"] == {"train": 15, "val": 3, "test": 9}
    assert found["linear_probe"]["provenance"]["command"].startswith("evalsuite run -m colour_model.py:factory -t")


def test_the_second_run_does_nothing(cli: WarmCli, work: Path) -> None:
    before = contents(work / "out")
    finished = cli("run", "-m", "colour_model.py:factory", "-t", "data/shapes.yaml", *STORES, cwd=work)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count("(stored)") == 2
    assert contents(work / "out") == before


def test_overwrite_computes_results_again_from_stored_features(cli: WarmCli, work: Path) -> None:
    before = by_protocol(work / "out")
    common = ("run", "-m", "colour_model.py:factory", "-t", "data/shapes.yaml", *STORES)
    assert cli(*common, "--overwrite", "--protocol", "zero_shot", cwd=work).returncode == 0
    after = by_protocol(work / "out")
    assert after["linear_probe"] == before["linear_probe"]
    assert "--overwrite" in after["zero_shot"]["provenance"]["command"]
    assert after["zero_shot"]["timings"]["images_encoded"] == 0
    assert after["zero_shot"]["metric"] == before["zero_shot"]["metric"]


def test_only_a_changed_image_is_encoded_again(cli: WarmCli, work: Path) -> None:
    image = work / "data" / "test" / "red" / "000.png"
    image.write_bytes((work / "data" / "test" / "blue" / "001.png").read_bytes())
    finished = cli("run", "-m", "colour_model.py:factory", "-t", "data/shapes.yaml", *STORES, cwd=work)
    assert finished.returncode == 0, finished.stderr
    after = by_protocol(work / "out")
    assert after["zero_shot"]["timings"]["images_encoded"] == 1
    assert after["zero_shot"]["metric"]["value"] == pytest.approx(8 / 9)


def test_an_image_of_the_same_size_is_not_taken_for_the_old_one(
    cli: WarmCli, colours: str, shapes: Path, tmp_path: Path
) -> None:
    for image in shapes.parent.rglob("*.png"):
        Image.open(image).save(image.with_suffix(".bmp"))
        image.unlink()
    common = ("run", "-m", colours, "-t", shapes, "--protocol", "zero_shot", *STORES)
    assert cli(*common).returncode == 0
    test = shapes.parent / "test"
    (test / "red" / "000.bmp").write_bytes((test / "blue" / "000.bmp").read_bytes())
    assert cli(*common).returncode == 0
    assert records(tmp_path / "out")[0]["metric"]["value"] == pytest.approx(8 / 9)


def test_a_run_that_found_everything_stored_shows_the_same_table(cli: WarmCli) -> None:
    common = ("run", "-m", "pixels", "-t", "digits", "--limit", "20", *STORES)
    first, again = cli(*common), cli(*common)
    assert "(stored)" in again.stderr
    assert again.stdout == first.stdout


def test_logged_samples_give_the_recorded_accuracy(work: Path) -> None:
    image_labels = {"red", "green", "blue"}
    for record in records(work / "out"):
        (folder,) = (work / "out").iterdir()
        table = pd.read_parquet(folder / record["samples"])
        assert len(table) == record["metric"]["n"] == 9
        assert set(table["label"]) == image_labels
        assert (table["prediction"] == table["label"]).mean() == record["metric"]["value"]
        assert table["sample"].tolist() == [f"{key}/{n:03d}.png" for key in sorted(image_labels) for n in range(3)]
        scores = np.stack(table["scores"].tolist())
        keys = np.array(["red", "green", "blue"])  # the order of the task file
        assert (keys[scores.argmax(axis=1)] == table["prediction"]).all()
        assert [best[0] for best in table["top5"]] == table["prediction"].tolist()


def test_samples_are_logged_later_when_they_are_asked_for(cli: WarmCli, tmp_path: Path) -> None:
    common = ("run", "-m", "pixels", "-t", "digits", "--limit", "20", "--protocol", "linear_probe", *STORES)
    assert cli(*common).returncode == 0
    assert records(tmp_path / "out")[0]["samples"] is None
    assert cli(*common, "--log-samples").returncode == 0
    (record,) = records(tmp_path / "out")
    table = pd.read_parquet(next((tmp_path / "out").rglob("*.parquet")))
    assert (table["prediction"] == table["label"]).mean() == pytest.approx(record["metric"]["value"])
    assert record["timings"]["images_encoded"] == 0


def test_limited_results_are_partial_and_shown_only_when_asked_for(cli: WarmCli, tmp_path: Path) -> None:
    assert cli("run", "-m", "pixels", "-t", "digits", "--limit", "20", *STORES).returncode == 0
    record = by_protocol(tmp_path / "out")["linear_probe"]
    assert (record["status"], record["metric"]["n"], record["options"]["limit"]) == ("partial", 20, 20)
    without = cli("leaderboard", "-o", "out").stdout
    assert "Left out: 1 partial result; --include-partial shows them" in without
    assert "measured" not in without
    shown = cli("leaderboard", "-o", "out", "--include-partial").stdout
    assert f"{100 * record['metric']['value']:.1f}*" in shown


def test_skip_missing_leaves_out_what_is_not_there(cli: WarmCli, colours: str, shapes: Path, tmp_path: Path) -> None:
    absent = shapes.with_name("absent.yaml")
    absent.write_text(shapes.read_text().replace("path: .", "path: nowhere"))
    common = ("run", "-m", colours, "-t", f"{absent},{shapes}", "--protocol", "zero_shot", *STORES)
    finished = cli(*common, "--skip-missing")
    assert finished.returncode == 0, finished.stderr
    assert "Skipped zero_shot of absent" in finished.stderr
    assert "1 result (1 ok) in out" in finished.stdout
    assert [(r["task"], r["status"]) for r in records(tmp_path / "out")] == [("shapes", "ok")]
    assert cli(*common).returncode == 1


def test_prompts_of_another_file_are_another_result(cli: WarmCli, work: Path) -> None:
    (work / "mine.yaml").write_text("templates: ['{}', 'the {}']\n")
    common = ("run", "-m", "colour_model.py:factory", "-t", "data/shapes.yaml", *STORES)
    assert cli(*common, "--prompts", "mine.yaml", cwd=work).returncode == 0
    found = [record for record in records(work / "out") if record["protocol"] == "zero_shot"]
    assert sorted(record["details"]["prompts"] for record in found) == [3, 6]
    assert len([record for record in records(work / "out") if record["protocol"] == "linear_probe"]) == 1


def test_a_model_without_text_has_no_zero_shot_result_and_that_is_no_error(cli: WarmCli, work: Path) -> None:
    common = (
        "run",
        "-m",
        "colour_model.py:images_only",
        "-t",
        "data/shapes.yaml",
        "-o",
        "other",
        "--cache-dir",
        "cache",
    )
    assert cli(*common, cwd=work).returncode == 0
    found = by_protocol(work / "other")
    assert {name: record["status"] for name, record in found.items()} == {
        "zero_shot": "not_applicable",
        "linear_probe": "ok",
    }


def test_a_leaderboard_in_a_file(cli: WarmCli, work: Path) -> None:
    shown = cli("leaderboard", "-o", "out", cwd=work)
    assert shown.returncode == 0
    assert re.search(r"file/colour_model-factory +\| linear_probe +\| measured +\| +\*\*100\.0\*\*", shown.stdout)
    assert cli("leaderboard", "-o", "out", "--to", "board.csv", "--protocol", "zero_shot", cwd=work).returncode == 0
    table = pd.read_csv(work / "board.csv")
    assert table[["model", "protocol", "shapes"]].values.tolist() == [["file/colour_model-factory", "zero_shot", 100.0]]
