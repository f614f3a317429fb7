"""Python adapters: a file beside the task file, where YAML cannot say how the data is read."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evalsuite import resources
from evalsuite.data.base import DataState, LoadedSample, RawPool
from evalsuite.data.context import SourceContext
from evalsuite.errors import DataError, EvalsuiteError, SpecError, UsageError
from evalsuite.hashing import combined_sha256, file_sha256
from evalsuite.tasks.sources import PythonSource

_PREFIX = "_evalsuite_adapter_"
_NO_ROOT = "."


def open_raw_pool(spec: PythonSource, pool: str, context: SourceContext) -> RawPool:
    """Let the adapter index a pool.

    The adapter's function gets the data root and the pool's name.
    UsageError for an adapter that is not trusted; errors in it are a DataError that names its file.
    """
    if not is_trusted(spec, context):
        raise UsageError(untrusted_message(spec, context))
    file = adapter_file(spec, context)
    if file is None or not file.is_file():
        raise SpecError(_no_adapter(spec, context))
    root = context.place.data_root
    raw = call_adapter(file, spec.function, root, pool)
    reader = AdapterReader(file, spec.function, root, pool)
    reader.attach(raw)
    # A change of the adapter may change the images it makes: its code is a part of their identity.
    content = combined_sha256([file_sha256(file), raw.content])
    return RawPool(raw.ids, raw.labels, reader, raw.sizes, raw.mtimes, content, raw.groups)


def state(spec: PythonSource, context: SourceContext) -> DataState:
    """Say whether the adapter may run and the path it reads is there; the adapter is not run."""
    file = adapter_file(spec, context)
    if file is None or not file.is_file():
        return DataState("absent", spec.kind, _no_adapter(spec, context))
    if not is_trusted(spec, context):
        return DataState("absent", spec.kind, untrusted_message(spec, context))
    root = context.under_root(spec.path)
    if spec.path == _NO_ROOT or root.exists():
        return DataState("ready", spec.kind)
    return DataState("absent", spec.kind, f"needs {root}, which is not there.")


def folder(spec: PythonSource, context: SourceContext) -> Path:
    """Return the path the adapter reads."""
    return context.under_root(spec.path)


def image_options(spec: PythonSource, pool: str) -> dict[str, Any]:
    """Return nothing more: the adapter's code and what it reads are in the pool's content."""
    return {"function": spec.function}


def describe(spec: PythonSource) -> str:
    """Name the source in a message."""
    return f"adapter {spec.file}"


def adapter_file(spec: PythonSource, context: SourceContext) -> Path | None:
    """Return the adapter's file; None for a task that was not read from a file."""
    return None if context.task.path is None else context.task.path.parent / spec.file


def is_trusted(spec: PythonSource, context: SourceContext) -> bool:
    """Say whether the adapter may run: it and its task file are the project's own, or the user allowed it."""
    if context.place.trust_adapters:
        return True
    file = adapter_file(spec, context)
    if file is None or context.task.path is None:
        return False
    own = resources.data_dir("tasks").resolve()
    return file.resolve().is_relative_to(own) and context.task.path.resolve().is_relative_to(own)


def untrusted_message(spec: PythonSource, context: SourceContext) -> str:
    """Say why the adapter does not run and how to allow it."""
    return (
        f"The task {context.task.name!r} brings Python code, {adapter_file(spec, context)}, which runs only with "
        "--trust-adapters. Read the file first: it can do whatever you can."
    )


def call_adapter(file: Path, function: str, root: Path, pool: str) -> RawPool:
    """Import the adapter and let it open a pool."""
    opener = _load_function(file, function)
    try:
        raw = opener(root, pool)
    except EvalsuiteError:
        raise
    except Exception as error:
        raise DataError(f"The adapter {file} failed on the pool {pool!r}: {type(error).__name__}: {error}") from error
    if not isinstance(raw, RawPool):
        raise DataError(
            f"The adapter {file} returned {type(raw).__name__} for the pool {pool!r}; "
            f"{function} must return an evalsuite.data.RawPool."
        )
    return raw


class AdapterReader:
    """Reads samples by the adapter's own reader.

    The reader of an adapter may be of a class that another process cannot import: then what is pickled is
    how to open the pool again.
    """

    def __init__(self, file: Path, function: str, root: Path, pool: str) -> None:
        self._arguments = (file, function, root, pool)
        self._raw: RawPool | None = None

    def attach(self, raw: RawPool) -> None:
        """Use a pool that is open already."""
        self._raw = raw

    def __call__(self, row: int) -> LoadedSample:
        """Read one sample; errors of the adapter name its file."""
        file, function, root, pool = self._arguments
        if self._raw is None:
            self._raw = call_adapter(file, function, root, pool)
        try:
            return self._raw.read(row)
        except EvalsuiteError:
            raise
        except Exception as error:
            raise DataError(
                f"The adapter {file} cannot read the sample {self._raw.ids[row]!r} of the pool {pool!r}: "
                f"{type(error).__name__}: {error}"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        importable = self._raw is not None and not type(self._raw.read).__module__.startswith(_PREFIX)
        return {"_arguments": self._arguments, "_raw": self._raw if importable else None}


def _load_function(file: Path, function: str) -> Callable[[Path, str], Any]:
    """Import a file by its path, under a name no other module has, and return its function."""
    try:
        code = file.read_bytes()
    except OSError as error:
        raise SpecError(f"The adapter {file} cannot be read: {error.strerror}.") from error
    digest = hashlib.sha256(str(file.resolve()).encode() + b"\0" + code).hexdigest()
    name = f"{_PREFIX}{digest[:16]}"
    module = sys.modules.get(name)
    if module is None:
        specification = importlib.util.spec_from_file_location(name, file)
        if specification is None or specification.loader is None:
            raise SpecError(f"The adapter {file} is no Python file: its name must end in .py.")
        module = importlib.util.module_from_spec(specification)
        sys.modules[name] = module  # dataclasses look their module up there
        try:
            specification.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise DataError(f"The adapter {file} cannot be imported: {type(error).__name__}: {error}") from error
    opener = getattr(module, function, None)
    if not callable(opener):
        raise SpecError(f"The adapter {file} has no function {function!r}: (root: Path, pool: str) -> RawPool.")
    found: Callable[[Path, str], Any] = opener
    return found


def _no_adapter(spec: PythonSource, context: SourceContext) -> str:
    if context.task.path is None:
        return f"the task was not read from a file, so its adapter {spec.file!r} cannot be found."
    return f"its adapter {adapter_file(spec, context)} is missing: `file` is relative to the task file."
