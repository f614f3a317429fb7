"""Options are declared once; the command line, configuration files, Python and records follow."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

import evalsuite
from evalsuite.data.place import DataPlace
from evalsuite.options import RunOptions, build, declared, recorded
from evalsuite.protocols import DEFAULT_PROTOCOLS, options_of


def test_every_option_of_a_run_is_a_flag_and_a_keyword() -> None:
    from evalsuite.cli.run import run

    options = [*declared(RunOptions), *declared(DataPlace), *options_of(DEFAULT_PROTOCOLS)]
    keywords = inspect.signature(evalsuite.evaluate).parameters
    flags = {item.name: item for item in run.params if isinstance(item, click.Option)}
    assert len({item.keyword for item in options}) == len(options) > 15
    for item in options:
        assert keywords[item.keyword].default == item.default
        assert item.flag in flags[item.keyword].opts and flags[item.keyword].help == item.help


def test_a_keyword_that_nobody_knows_is_refused_with_the_nearest() -> None:
    with pytest.raises(TypeError, match=r"no argument 'limt'\. Did you mean limit"):
        evalsuite.evaluate("pixels", "digits", limt=3)


def test_protocol_options_and_keywords_say_the_same(tmp_path: Path) -> None:
    def run(where: str, **options: Any) -> evalsuite.Result:
        (result,) = evalsuite.evaluate(
            "pixels",
            "digits",
            "linear_probe",
            limit=50,
            output=tmp_path / where,
            cache_dir=tmp_path / "cache",
            **options,
        )
        return result

    keyword = run("a", probe_tolerance=1e-3)
    setting = run("b", protocol_options={"probe.tolerance": 1e-3})
    default = run("c")
    assert keyword.fingerprint == setting.fingerprint != default.fingerprint
    assert keyword.options["tolerance"] == 1e-3 and keyword.options["refit_tolerance"] == pytest.approx(1e-5)
    assert keyword.changed_options == {"tolerance": 1e-3, "refit_tolerance": 1e-3 * 1e-2, "limit": 50}
    with pytest.raises(evalsuite.UsageError, match="--probe-tolerance 2: give a number between 0 and 1"):
        run("d", probe_tolerance=2)


def test_what_decides_no_number_is_in_no_record() -> None:
    options = build(RunOptions, {"limit": 3, "seed": 0, "overwrite": True, "batch_size": 7, "workers": None})
    assert recorded(options) == {"limit": 3}
    assert options.batch_size == 7 and options.workers is None


def test_text_is_read_as_the_declared_type_and_other_keywords_are_left_alone() -> None:
    assert build(RunOptions, {"limit": "12", "data_root": "x"}).limit == 12
    with pytest.raises(evalsuite.UsageError, match="--limit many: give a number of 1 or more"):
        build(RunOptions, {"limit": "many"})
    with pytest.raises(evalsuite.UsageError, match="--precision fp8: choose auto, fp32"):
        build(RunOptions, {"precision": "fp8"})


def test_the_environment_decides_what_is_not_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALSUITE_DATA", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    place = build(DataPlace, {"data_root": None, "offline": False})
    assert place.data_root == tmp_path and place.offline
    assert build(DataPlace, {"data_root": "~/images"}).data_root == Path.home() / "images"


def test_help_of_the_command_line_imports_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['evalsuite', 'run', '--help']\n"
        "from evalsuite.cli import main\n"
        "try:\n    main()\nfinally:\n    print(sorted({'torch', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
