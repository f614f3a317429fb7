"""A protocol of another package, with an option of its own, through public entry points alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.packages import install
from tests.processes import WarmCli

CLASS_MEANS = '''
"""Nearest class mean, with the power of the distance as its option."""

from dataclasses import dataclass

from evalsuite.options import option
from evalsuite.protocols.base import EvaluationProtocol, FoldScores, Outcome


@dataclass(frozen=True)
class Options:
    power: int = option(2, ge=1, help="Power of the distance.")


class ClassMeans(EvaluationProtocol):
    name = "class_means"
    prefix = "means"
    Options = Options
    version = 1
    layer = "penultimate"
    needs_training = True

    def splits(self, folds):
        return [split for fold in folds for split in (fold.train, fold.test)]

    def run(self, given):
        import torch

        found = []
        for fold in given.folds:
            train, test = given.read(fold.train, self.layer), given.read(fold.test, self.layer)
            labels = torch.from_numpy(train.labels)
            means = torch.stack([train.features[labels == c].mean(dim=0) for c in range(len(given.task.class_list))])
            distances = torch.cdist(test.features, means, p=self.options.power)
            found.append(FoldScores(-distances.numpy(), test.labels, test.ids))
        return Outcome(folds=found, sizes={"test": len(found[0].ids)}, details={"means": len(means)})
'''


@pytest.fixture
def package(tmp_path: Path) -> dict[str, str]:
    """The environment in which a package with the protocol is installed."""
    entry_points = "[evalsuite.protocols]\nclass_means = class_means:ClassMeans\n"
    return install(tmp_path / "site", entry_points, {"class_means.py": CLASS_MEANS})


def record(out: Path) -> dict[str, Any]:
    (path,) = [path for path in out.rglob("*.json") if "class_means" in path.name]
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_its_option_is_a_flag_a_setting_and_a_part_of_the_record(
    tmp_path: Path, cli: WarmCli, package: dict[str, str]
) -> None:
    assert "--means-power" in cli("run", "--help", env=package).stdout
    arguments = ("run", "-m", "pixels", "-t", "digits", "--protocol", "class_means")
    records = []
    for number, extra in enumerate(
        [
            (),
            ("--means-power", "1"),
            ("--protocol-option", "means.power=1"),
            ("--protocol-option", "class_means.power=1"),
        ]
    ):
        done = cli(*arguments, "-o", tmp_path / f"{number}", *extra, env=package)
        assert done.returncode == 0, done.stderr
        records.append(record(tmp_path / f"{number}"))
    default, flag, setting, long_setting = records
    assert default["options"] == {"power": 2} and default["options_hash"] is None
    assert default["metric"]["value"] > 0.8
    assert flag["options"] == {"power": 1} and flag["options_hash"] is not None
    assert flag["metric"]["value"] != default["metric"]["value"]
    for same in (setting, long_setting):
        assert same["fingerprint"] == flag["fingerprint"] != default["fingerprint"]
        assert same["metric"] == flag["metric"]


def test_its_option_is_a_key_of_a_configuration_file(tmp_path: Path, cli: WarmCli, package: dict[str, str]) -> None:
    (tmp_path / "night.yaml").write_text("model: pixels\ntasks: digits\nprotocol: class_means\nmeans_power: 1\n")
    done = cli("run", "-C", tmp_path / "night.yaml", "-o", tmp_path / "out", env=package)
    assert done.returncode == 0, done.stderr
    assert record(tmp_path / "out")["options"] == {"power": 1}


@pytest.mark.parametrize(
    ("extra", "texts"),
    [
        (("class_means", "--means-power", "0"), ["--means-power", "1 or more"]),
        (("class_means", "--protocol-option", "means.power=0"), ["--means-power 0", "1 or more"]),
        (("class_means", "--protocol-option", "means.pover=1"), ["means.pover", "Did you mean means.power"]),
        (("class_means", "--protocol-option", "means.power"), ["means.power", "PROTOCOL.NAME=VALUE"]),
        (("linear_probe", "--protocol-option", "means.power=1"), ["means.power", "no protocol of this run (linear"]),
        (("class_mean",), ["Did you mean class_means"]),
    ],
)
def test_a_wrong_value_or_name_is_refused_before_any_work(
    tmp_path: Path, cli: WarmCli, package: dict[str, str], extra: tuple[str, ...], texts: list[str]
) -> None:
    done = cli("run", "-m", "pixels", "-t", "digits", "-o", tmp_path / "out", "--protocol", *extra, env=package)
    assert done.returncode == 2
    assert all(text in done.stderr for text in texts), done.stderr
    assert not (tmp_path / "out").exists()


def test_a_package_that_cannot_be_imported_stops_nobody_but_those_who_name_its_protocol(
    tmp_path: Path, cli: WarmCli, package: dict[str, str]
) -> None:
    (tmp_path / "site" / "class_means.py").write_text("import a_module_that_is_not_there\n")
    assert cli("run", "--help", env=package).returncode == 0
    done = cli("run", "-m", "pixels", "-t", "digits", "--protocol", "class_means", env=package)
    assert done.returncode == 2 and "a_module_that_is_not_there" in done.stderr
    assert "Traceback" not in done.stderr
