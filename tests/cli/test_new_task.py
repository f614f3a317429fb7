"""`evalsuite new task`: a file to start from, or one that describes a folder of images."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.cli.conftest import STORES, records
from tests.datasets import write_folder_task
from tests.processes import WarmCli


def test_the_name_of_a_new_task_becomes_that_of_a_file(cli: WarmCli, tmp_path: Path) -> None:
    assert cli("new", "task", "Ma Forêt & moi").returncode == 0
    assert 'title: "Ma Forêt & moi"\n' in (tmp_path / "ma_foret_moi.yaml").read_text("utf-8")
    assert cli("ls", "tasks", "ma_foret_moi.yaml").returncode == 0
    nameless = cli("new", "task", "...")
    assert nameless.returncode == 2 and "no letter" in nameless.stderr


def picture_folders(root: Path, *names: str) -> None:
    """Draw five pictures into each folder."""
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for shade in (50, 100, 150, 200, 250):
            Image.new("RGB", (8, 8), (shade, 40 * number, 0)).save(root / name / f"{shade}.png")


def test_a_task_is_written_for_a_folder_of_images_with_splits(cli: WarmCli, tmp_path: Path) -> None:
    pools = ("train", "valid", "test")
    picture_folders(tmp_path / "birds", *(f"{pool}/{key}" for pool in pools for key in ("no", "blue_tit")))
    Image.new("RGB", (8, 8)).save(tmp_path / "birds/test/no/third.png")
    finished = cli("new", "task", "My Birds", "--from-folder", "birds")
    assert finished.returncode == 0, finished.stderr
    assert "2 classes; train 10, val 10, test 11. The splits are the folders train, valid, test." in finished.stdout
    written = yaml.safe_load((tmp_path / "my_birds.yaml").read_text())
    assert written["classes"] == [{"blue_tit": "blue tit"}, "no"]
    assert written["sizes"] == {"train": 10, "val": 10, "test": 11}
    checked = cli("validate", "my_birds.yaml")
    assert checked.returncode == 0, checked.output


def test_a_task_for_a_folder_without_splits_draws_them_by_a_seed(cli: WarmCli, tmp_path: Path) -> None:
    picture_folders(tmp_path, *(f"deep/sun set/{key}" for key in ("2024-05-01", "beach")))
    finished = cli("new", "task", "--from-folder", "deep/sun set")
    assert finished.returncode == 0, finished.stderr
    assert "Drawn by the seed 0: 80% of the images of each class train" in finished.stdout
    written = yaml.safe_load((tmp_path / "sun_set.yaml").read_text())
    assert written["splits"] == {"rule": "sample", "pool": "all", "seed": 0, "train": 0.8, "test": "rest"}
    assert written["classes"] == [{"2024-05-01": "2024 05 01"}, "beach"]


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (["birds/robin"], "1 folder with images (robin)"),
        (["birds/val/robin", "birds/test/robin"], "none to train on"),
    ],
)
def test_a_folder_that_is_no_dataset_gets_no_task(cli: WarmCli, tmp_path: Path, folders: list[str], said: str) -> None:
    picture_folders(tmp_path, *folders)
    finished = cli("new", "task", "--from-folder", "birds")
    assert finished.returncode == 2 and said in finished.stderr
    assert not (tmp_path / "birds.yaml").exists()


def test_a_new_task_file_fits_the_schema_and_wants_its_images(cli: WarmCli, tmp_path: Path) -> None:
    finished = cli("new", "task", "my_birds.yaml")
    assert finished.returncode == 0
    assert "evalsuite validate my_birds.yaml" in finished.stdout
    checked = cli("validate", "my_birds.yaml")
    assert checked.returncode == 1
    assert "2 classes, 1 template" in checked.output
    assert "data failed absent: " in " ".join(checked.output.split())
    assert "1 task, 1 failed" in checked.output
    written = (tmp_path / "my_birds.yaml").read_bytes()
    assert cli("new", "task", "my_birds.yaml").returncode == 2
    assert (tmp_path / "my_birds.yaml").read_bytes() == written


def test_a_new_task_runs_once_its_images_are_there(cli: WarmCli, colours: str, tmp_path: Path) -> None:
    write_folder_task(tmp_path, classes=["red", "blue"])
    for pool in ("train", "test"):
        (tmp_path / pool / "red").rename(tmp_path / pool / "blue_tit")
        (tmp_path / pool / "blue").rename(tmp_path / pool / "magpie")
    assert cli("new", "task", "my_birds.yaml").returncode == 0
    assert cli("validate", "my_birds.yaml").returncode == 0
    assert cli("run", "-m", colours, "-t", "my_birds.yaml", "--protocol", "linear_probe", *STORES).returncode == 0
    assert records(tmp_path / "out")[0]["metric"]["value"] == 1.0
