"""Python files of users, read once: what runs is what is hashed, even if the file is edited meanwhile."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType


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
        return module
