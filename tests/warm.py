"""Run the command line, or Python code, many times and pay for the imports once.

A started `evalsuite run` spends seconds on importing torch. This process imports it once; for each request, a line
of JSON on stdin, it forks, and the child is a process like any other: arguments, environment, folder, output files,
signals and exit code of its own.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

PRELOADED = (
    "open_clip",
    "pyarrow.parquet",
    "sklearn.datasets",
    "tabulate",
    "timm",
    "evalsuite.api",
    "evalsuite.data.opening",
    "evalsuite.models.file_models",
    "evalsuite.models.open_clip_models",
    "evalsuite.models.timm_models",
    "evalsuite.protocols.linear_probe",
    "evalsuite.protocols.zero_shot",
)


def serve() -> None:
    """Answer each request: to start with the number of the child, to wait for one with its exit code."""
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # children do not walk over all that was imported each time they look for garbage
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
        sys.path[:0] = [str(Path.cwd()), *filter(None, request["env"].get("PYTHONPATH", "").split(os.pathsep))]
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
