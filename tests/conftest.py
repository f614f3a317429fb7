"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.file_server import CONTENT, FileServer
from tests.processes import Finished, RunCli, WarmCli, Zygote, cli_environment, leave_disks_alone, warm_process

# Tests run many small problems: more threads than cores only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["NO_COLOR"] = "1"

# Who starts the tests in the background of a script, or by nohup, has these ignored in all processes that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

settings.register_profile("the same cases each time", derandomize=True, deadline=None)
settings.load_profile("the same cases each time")

leave_disks_alone()

SHARED = Path(os.environ.get("EVALSUITE_SHARED", Path(__file__).resolve().parents[2] / "shared" / "data"))


def pytest_configure(config: pytest.Config) -> None:
    """Hide the GPUs of this machine from tests that do not ask for one: what they expect is the CPU's, bit for bit."""
    if "gpu" not in config.option.markexpr:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their argument: a gzip holds the second it was made in, and workers must agree on the names."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the tests that need the shared data where it is not there, and those with real weights unless asked for."""
    wanted = "weights" in config.option.markexpr
    for item in items:
        if item.get_closest_marker("shared") and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip(reason=f"needs {SHARED} (or $EVALSUITE_SHARED)"))
        if item.get_closest_marker("weights") and not wanted:
            item.add_marker(pytest.mark.skip(reason="installs real weights: pytest -m weights"))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage among the modules of all tests: not while they are imported, and not in each later search."""
    gc.disable()
    found = yield
    gc.collect()
    gc.freeze()
    gc.enable()
    return found


def pytest_unconfigure() -> None:
    """Let the end of the process find everything again."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test reads or writes what belongs to the person who runs it."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("EVALSUITE_HOME", str(home))
    for name in ("EVALSUITE_CACHE", "EVALSUITE_DATA", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    yield


@pytest.fixture
def shared_data() -> Path:
    """The folder with MNIST and CIFAR-10; for tests marked `shared`."""
    return SHARED


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A web server of this machine that has the file `f.bin`; no proxy comes in between."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    running = FileServer()
    running.files["f.bin"] = CONTENT
    yield running
    running.stop()


@pytest.fixture
def run_cli(tmp_path: Path) -> RunCli:
    """Run `evalsuite ...` as a person does: another process, another folder, a home of its own."""

    def run(
        *arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "evalsuite", *map(str, arguments)],
            env=cli_environment(tmp_path, env),
            cwd=cwd or tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """The process from which others start without paying for imports."""
    with warm_process(tmp_path_factory.mktemp("warm")) as found:
        yield found


@pytest.fixture
def cli(zygote: Zygote, tmp_path: Path) -> WarmCli:
    """Run `evalsuite ...` in a process and a folder of its own, without paying for imports."""

    def run(
        *arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path = tmp_path, without: Sequence[str] = ()
    ) -> Finished:
        return zygote.run(arguments, zygote.environment(tmp_path, env), cwd, without)

    return run


@pytest.fixture
def loose() -> Iterator[list[Callable[[], bool]]]:
    """Allow TF32 in this process wherever torch can, and give what says of each setting whether it is exact."""
    import torch

    backends: Any = torch.backends
    if hasattr(backends.cuda.matmul, "fp32_precision"):
        operations = [backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv]
        before = [operation.fp32_precision for operation in operations]
        for operation in operations:
            operation.fp32_precision = "tf32"
        yield [partial(_is_ieee, operation) for operation in operations]
        for operation, value in zip(operations, before, strict=True):
            operation.fp32_precision = value
    else:  # before torch 2.9
        older = torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32
        torch.set_float32_matmul_precision("high")
        backends.cudnn.allow_tf32 = True
        yield [lambda: torch.get_float32_matmul_precision() == "highest", lambda: not backends.cudnn.allow_tf32]
        torch.set_float32_matmul_precision(older[0])
        backends.cudnn.allow_tf32 = older[1]


def _is_ieee(operation: Any) -> bool:
    return bool(operation.fp32_precision == "ieee")
