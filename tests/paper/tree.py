"""A folder with tiny copies of the 27 datasets of the paper, and task files that fit them.

python -m tests.paper.tree DIR
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from evalsuite.resources import data_dir
from evalsuite.tasks.yaml_files import read_yaml
from tests.paper import archives, binaries, folders, scenes, tables, traffic, videos
from tests.paper.picture import Written

WRITERS: dict[str, Callable[[Path], Written]] = {
    "food101": folders.write_food101,
    "cifar10": archives.write_cifar10,
    "cifar100": archives.write_cifar100,
    "birdsnap": tables.write_birdsnap,
    "sun397": folders.write_sun397,
    "stanford_cars": tables.write_stanford_cars,
    "fgvc_aircraft": tables.write_fgvc_aircraft,
    "voc2007": scenes.write_voc2007,
    "dtd": folders.write_dtd,
    "oxford_pets": folders.write_oxford_pets,
    "caltech101": folders.write_caltech101,
    "flowers102": tables.write_flowers102,
    "mnist": archives.write_mnist,
    "fer2013": tables.write_fer2013,
    "stl10": binaries.write_stl10,
    "eurosat": folders.write_eurosat,
    "resisc45": folders.write_resisc45,
    "gtsrb": traffic.write_gtsrb,
    "kitti_distance": scenes.write_kitti_distance,
    "country211": folders.write_country211,
    "pcam": binaries.write_pcam,
    "ucf101": videos.write_ucf101,
    "kinetics700": videos.write_kinetics700,
    "clevr_counts": scenes.write_clevr_counts,
    "hateful_memes": tables.write_hateful_memes,
    "rendered_sst2": folders.write_rendered_sst2,
    "imagenet": folders.write_imagenet,
}
"""In the order of the paper's table 9."""


def write_tree(root: Path, tasks: Sequence[str] | None = None) -> dict[str, Written]:
    """Write `<root>/data` and `<root>/tasks` for these tasks (none given: all); return what was written of each."""
    data, folder = root / "data", root / "tasks"
    data.mkdir(parents=True)
    # Adapters and whatever else lies next to the task files.
    shutil.copytree(data_dir("tasks"), folder, ignore=shutil.ignore_patterns("*.yaml", "__pycache__"))
    written: dict[str, Written] = {}
    for name in WRITERS if tasks is None else tasks:
        written[name] = WRITERS[name](data)
        write_task(folder / f"{name}.yaml", fitted(read_yaml(data_dir("tasks") / f"{name}.yaml")[0], written[name]))
    return written


def fitted(task: dict[str, Any], written: Written) -> dict[str, Any]:
    """Return the content of a task file with the sizes, and where stated the splits, of a little tree.

    Those of single sources give way, too: they state the numbers of the real dataset.
    """
    sources = [{key: value for key, value in source.items() if key != "sizes"} for source in task["sources"]]
    changed: dict[str, Any] = {"sources": sources, "sizes": dict(written.sizes)}
    if written.splits is not None:
        changed["splits"] = dict(written.splits)
    return {**task, **changed, **written.further}


def write_task(path: Path, content: dict[str, Any]) -> None:
    """Write a task file."""
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000), encoding="utf-8")


def main() -> None:
    """Write the tree into a new folder and say what to do with it."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.paper.tree DIR")
    root = Path(sys.argv[1])
    if root.exists() and any(root.iterdir()):
        sys.exit(f"{root} is not empty: name a new folder.")
    write_tree(root)
    options = [
        *("--data-root", str(root / "data"), "--include-path", str(root / "tasks"), "--trust-adapters"),
        *("--output", str(root / "results"), "--cache-dir", str(root / "cache")),
    ]
    models = ["-m", "pixels", "-m", f"{Path(__file__).parent / 'small_clip.py'}:factory"]
    launch = ["python", "-m", "tests.paper.launch", "run", "-t", "all"]
    sys.stdout.write(f"{len(WRITERS)} datasets in {root / 'data'}. To try them:\n")
    for command in ([*launch, "-m", "pixels", *options], [*launch, *models, *options]):
        sys.stdout.write(f"  {shlex.join(command)}\n")


if __name__ == "__main__":
    main()
