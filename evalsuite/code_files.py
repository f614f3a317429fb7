"""Python files of users, read once: what runs is what is hashed, even if the file is edited meanwhile."""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar


@dataclass(frozen=True)
class CodeFile:
    """A Python file and its bytes."""

    path: Path
    content: bytes

    @classmethod
    def read(cls, path: Path) -> CodeFile:
        """Read a file; OSError where that fails."""
        return cls(path, path.read_bytes())

    @property
    def sha256(self) -> str:
        """The sha256 of the bytes, in hex."""
        return hashlib.sha256(self.content).hexdigest()

    def run(self, name: str) -> ModuleType | None:
        """Run the code as the module `name` and return it; None where the file is no Python file.

        Python's own import would take compiled code of a file with the same size and second of modification.
        Whatever the code raises is passed on, and the module is then not kept.
        """
        spec = importlib.util.spec_from_file_location(name, self.path)
        if spec is None:
            return None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses, pickling and inspect.getsource look a module up there
        try:
            exec(compile(self.content, str(self.path), "exec", dont_inherit=True), vars(module))
        except BaseException:
            del sys.modules[name]
            raise
        _RUN[name] = self
        return module


_RUN: dict[str, CodeFile] = {}
"""What was run, by the name of its module: no other process can import these by name."""


Content = TypeVar("Content")


class Portable(Generic[Content]):
    """An object that another process can unpickle, although its class or function is from a file that was run here.

    The files are run there first, under the same names. dumps: pickles the object, and fails as it does.
    """

    def __init__(self, content: Content, dumps: Callable[[Content], bytes] = pickle.dumps) -> None:
        self.content = content
        self._dumps = dumps

    def __reduce__(self) -> tuple[Callable[..., Portable[Any]], tuple[Mapping[str, CodeFile], bytes]]:
        return _unpacked, (dict(_RUN), self._dumps(self.content))


def _unpacked(files: Mapping[str, CodeFile], content: bytes) -> Portable[Any]:
    for name, file in files.items():
        if name not in sys.modules:
            file.run(name)
    return Portable(pickle.loads(content))


@contextmanager
def without_compiled_code() -> Iterator[None]:
    """Let Python write no compiled code of the modules that are imported meanwhile.

    It would be taken for that of a module that is edited within the same second to the same size.
    """
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
