"""Python adapters: a file next to the task file, where YAML cannot say how the data is read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from evalsuite import resources
from evalsuite.code_files import CodeFile, without_compiled_code
from evalsuite.data.base import DataState, LoadedSample, RawPool, content_of, encoded_of
from evalsuite.data.decoding import Bounds
from evalsuite.data.readers import bounded
from evalsuite.data.sources.base import Source
from evalsuite.errors import INTERRUPTIONS, DataError, EvalsuiteError, SpecError, UsageError, said
from evalsuite.hashing import combined_sha256
from evalsuite.tasks.sources import PythonSpec

_PREFIX = "_evalsuite_adapter_"
_NO_ROOT = "."
_Opener = Callable[[Path | None, str], Any]


class PythonSource(Source[PythonSpec]):
    """An adapter, which runs only if it is the project's own or the user allowed it."""

    @property
    def title(self) -> str:
        """Name the source in a message."""
        return f"adapter {self.spec.file}"

    @property
    def where(self) -> str:
        """Say where the data is looked for, in Markdown."""
        return f"`{self.spec.path}`, read by [{self.spec.file}](../../tasks/{self.spec.file})"

    @property
    def _file(self) -> Path | None:
        """The adapter's file, if there is one."""
        file = None if self.task.path is None else self.task.path.parent / self.spec.file
        return file if file is not None and file.is_file() else None

    def look(self) -> DataState:
        """Say whether the adapter may run and the path it reads is there; the adapter is not run."""
        if problem := self._no_adapter() or self.refusal():
            return DataState("absent", problem)
        if self.spec.path == _NO_ROOT or self.folder.exists():
            return DataState("ready")
        return DataState("absent", f"needs {self.folder}, which is not there.")

    def refusal(self) -> str:
        """Say how to allow an adapter that is not the project's own."""
        file, task_file = self._file, self.task.path
        if file is None or task_file is None or self.place.trust_adapters or self._is_shipped(file, task_file):
            return ""
        return (
            f"The task {self.task.name!r} brings Python code, {file}, which runs only with "
            "--trust-adapters. Read the file first: it can do whatever you can."
        )

    @staticmethod
    def _is_shipped(file: Path, task_file: Path) -> bool:
        own = resources.data_dir("tasks").resolve()
        return file.resolve().is_relative_to(own) and task_file.resolve().is_relative_to(own)

    def image_options(self, pool: str) -> dict[str, Any]:
        """Return nothing more: the adapter's code and what it reads are in the pool's content."""
        return {"function": self.spec.function}

    def open(self, pool: str) -> RawPool:
        """Let the adapter index a pool: its function gets the data root and the pool's name.

        UsageError for an adapter that is not trusted; errors in it are a DataError that names its file.
        """
        if refusal := self.refusal():
            raise UsageError(refusal)
        if self._file is None or self.task.path is None:
            raise SpecError(self._no_adapter())
        from evalsuite.code_identity import identify, is_installed

        code, function, root = read_code(self._file), self.spec.function, self.place.data_root
        opener = _load_function(code, function)
        # A change of the adapter may change the images it makes: its code is a part of their identity. One of a package
        # is one file; others may import modules of their own and read what they like.
        marks = [code.sha256]
        if not (self._is_shipped(self._file, self.task.path) or is_installed(self._file)):
            marks.append(identify(opener).digest)  # before it runs, which may fill globals
        raw = _opened(opener, code.path, root, pool)
        raw = replace(raw, read=bounded(raw.read, Bounds(self.task.max_pixels, self.task.max_aspect)))
        reader = AdapterReader(code, function, root, pool, raw)
        return replace(raw, read=reader, content=combined_sha256([*marks, raw.content]))

    def _no_adapter(self) -> str:
        if self.task.path is None:
            return f"the task was not read from a file, so its adapter {self.spec.file!r} cannot be found."
        adapter = self.task.path.parent / self.spec.file
        return "" if self._file else f"its adapter {adapter} is missing: `file` is relative to the task file."


def read_code(file: Path) -> CodeFile:
    """Read the adapter's file, once for all that is done with it."""
    try:
        return CodeFile.read(file)
    except OSError as error:
        raise SpecError(f"The adapter {file} cannot be read: {error.strerror}.") from error


def call_adapter(code: CodeFile, function: str, root: Path | None, pool: str) -> RawPool:
    """Run the adapter and let it open a pool."""
    return _opened(_load_function(code, function), code.path, root, pool)


def _opened(opener: _Opener, file: Path, root: Path | None, pool: str) -> RawPool:
    try:
        raw = opener(root, pool)
    except (EvalsuiteError, *INTERRUPTIONS):
        raise
    except BaseException as error:
        raise DataError(
            f"The adapter {file} failed on the pool {pool!r}: {type(error).__name__}: {said(error)}"
        ) from error
    if not isinstance(raw, RawPool):
        raise DataError(
            f"The adapter {file} returned {type(raw).__name__} for the pool {pool!r}; "
            "it must be an evalsuite.data.RawPool."
        )
    return raw


class AdapterReader:
    """Reads samples by the adapter's own reader.

    The reader of an adapter may be of a class that another process cannot import: then what is pickled is
    how to open the pool again.
    """

    def __init__(self, code: CodeFile, function: str, root: Path | None, pool: str, raw: RawPool | None = None) -> None:
        self._arguments = (code, function, root, pool)
        self._raw = raw

    def open(self) -> RawPool:
        """Return what the adapter makes of the pool."""
        if self._raw is None:
            self._raw = call_adapter(*self._arguments)
        return self._raw

    def __call__(self, row: int) -> LoadedSample:
        """Read one sample; errors of the adapter name its file."""
        with self._blaming(row):
            return self.open().read(row)

    def content(self, row: int) -> bytes:
        """Read the bytes of one sample."""
        with self._blaming(row):
            return content_of(self.open().read, row)

    def encoded(self, row: int) -> bytes | None:
        """Read the image file that one sample is, where the adapter's reader says that it is one."""
        with self._blaming(row):
            return encoded_of(self.open().read, row)

    @contextmanager
    def _blaming(self, row: int) -> Iterator[None]:
        raw = self.open()
        try:
            yield
        except (EvalsuiteError, *INTERRUPTIONS):
            raise
        except BaseException as error:
            code, _, _, pool = self._arguments
            raise DataError(
                f"The adapter {code.path} cannot read the sample {raw.ids[row]!r} of the pool {pool!r}: "
                f"{type(error).__name__}: {said(error)}"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        importable = self._raw is not None and not type(self._raw.read).__module__.startswith(_PREFIX)
        return {"_arguments": self._arguments, "_raw": self._raw if importable else None}


def _load_function(code: CodeFile, function: str) -> _Opener:
    """Run a file under a name no other module has, and return its function.

    It is run for every pool: a module that it imports may have been loaded again since.
    """
    file = code.path
    digest = hashlib.sha256(os.fsencode(file.resolve()) + b"\0" + code.content).hexdigest()
    try:
        with without_compiled_code():
            module = code.run(f"{_PREFIX}{digest[:16]}")
    except INTERRUPTIONS:
        raise
    except BaseException as error:
        raise DataError(f"The adapter {file} cannot be imported: {type(error).__name__}: {said(error)}") from error
    if module is None:
        raise SpecError(f"The adapter {file} is not a Python file: its name must end in .py.")
    opener = getattr(module, function, None)
    if not callable(opener):
        raise SpecError(f"The adapter {file} has no function {function!r}: (root: Path, pool: str) -> RawPool.")
    found: _Opener = opener
    return found
