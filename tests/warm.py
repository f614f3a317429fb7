"""Run the command line, or Python code, many times and pay for the imports once.

A started `evalsuite run` spends seconds on importing torch. This process imports it once; for each request, a line
of JSON on stdin, it forks, and the child is a process like any other: arguments, environment, folder, output files,
signals and exit code of its own.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import pkgutil
import sys
import traceback
from pathlib import Path
from typing import Any

import evalsuite
from tests.processes import leave_disks_alone

LIBRARIES = ("open_clip", "pandas.io.formats.csvs", "pyarrow.dataset", "pyarrow.parquet", "sklearn.datasets", "timm")
"""What evalsuite imports where it is needed."""

NOT_PRELOADED = ("evalsuite.__main__", "evalsuite.cli.run", "evalsuite.models.pocket.model")
"""Of its own modules: what runs the command line, asks other packages for their protocols, needs open_clip at once."""


def serve() -> None:
    """Answer each request: to start with the number of the child, to wait for one with its exit code."""
    gc.disable()  # almost nothing of what is imported is garbage
    own = [found.name for found in pkgutil.walk_packages(evalsuite.__path__, "evalsuite.")]
    for name in (*LIBRARIES, *(name for name in own if name not in NOT_PRELOADED)):
        importlib.import_module(name)
    _once_for_all()
    leave_disks_alone()
    gc.freeze()  # children do not walk over all that was imported each time they look for garbage
    gc.enable()
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                _become(request)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()
    os._exit(0)  # taking everything that was imported down in good order takes seconds


def _once_for_all() -> None:
    """Do what a child would do at its first task: build what reads its file, and unpack the digits."""
    from sklearn import datasets

    from evalsuite.resources import data_dir
    from evalsuite.tasks import load_task_file

    load_task_file(data_dir("tasks") / "digits.yaml")
    datasets.load_digits = functools.cache(datasets.load_digits)
    datasets.load_digits()


def _ask_packages_again() -> None:
    """Let packages that this path has bring kinds of sources, which reading a task file has asked for once."""
    from evalsuite.tasks.sources import SOURCE_KINDS
    from evalsuite.tasks.spec import TaskSpec

    SOURCE_KINDS._entry_points = None
    TaskSpec.model_rebuild(force=True)


def _become(request: dict[str, Any]) -> None:
    """Run what is asked for in this process, and end it."""
    code: Any = 1
    try:
        for descriptor, name in ((0, os.devnull), (1, request["stdout"]), (2, request["stderr"])):
            os.dup2(os.open(name, os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT), descriptor)
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        sys.argv = ["evalsuite", *request["arguments"]]
        sys.modules["__main__"].__package__ = None  # click names the program by it
        paths = [name for name in request["env"].get("PYTHONPATH", "").split(os.pathsep) if name]
        sys.path[:0] = [str(Path.cwd()), *paths]
        if paths:
            _ask_packages_again()
        for name in request["without"]:
            sys.modules[name] = None  # type: ignore[assignment]  # importing it now raises ImportError
        if request["code"] is not None:
            exec(request["code"], {"__name__": "__main__"})
        else:
            from evalsuite.cli import main

            main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException:  # noqa: BLE001 - the test that asked sees it, as a person would
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
