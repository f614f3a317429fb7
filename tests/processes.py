"""evalsuite in processes of its own: started anew, or from one that has imported everything already (`warm.py`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

NO_HUB = "http://127.0.0.1:9"
"""Nobody listens there: the hub as a machine without a network sees it."""

RunCli = Callable[..., "subprocess.CompletedProcess[str]"]
WarmCli = Callable[..., "Finished"]


def cli_environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a process that has nothing to do with the person who runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EVALSUITE_", "HF_", "COLUMNS"))}
    return {
        **kept,
        "EVALSUITE_HOME": str(home / "evalsuite-home"),
        "OMP_NUM_THREADS": "1",
        "NO_COLOR": "1",
        **(extra or {}),
    }


def leave_disks_alone() -> None:
    """Let `os.fsync` do nothing here: tests end processes, never the machine, and would mostly wait for the disk."""
    os.fsync = lambda fd: None


@dataclass
class Finished:
    """What a process did."""

    arguments: list[str]
    returncode: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Everything it printed, with line breaks of tables and wrapped messages taken out."""
        return " ".join((self.stdout + "\n" + self.stderr).split())


@dataclass
class Started:
    """A process that was begun; `lines` are those it prints, as they come."""

    zygote: Zygote
    arguments: list[str]
    pid: int
    stdout: Path
    stderr: Path
    lines: Iterator[str]

    def stop_at(self, seen: Callable[[str], bool], number: int) -> None:
        """Send a signal after the line for which `seen` says so."""
        assert any(seen(line) for line in self.lines), "the process ended before the signal"
        os.kill(self.pid, number)

    def finish(self) -> Finished:
        """Wait for its end."""
        printed = "".join(self.lines)
        code = self.zygote.ask({"wait": self.pid})
        return Finished(self.arguments, code, printed, self.stderr.read_text("utf-8"))


@dataclass
class Zygote:
    """The process of `warm.py`. Its hub cache is empty and its hub out of reach."""

    process: subprocess.Popen[str]
    folder: Path
    count: int = field(default=0)

    def environment(self, home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a child: what `cli_environment` says, and no hub."""
        return cli_environment(home, {"HF_HOME": str(self.folder / "hf"), "HF_ENDPOINT": NO_HUB, **(extra or {})})

    def start(
        self,
        arguments: Sequence[str | Path],
        env: Mapping[str, str],
        cwd: Path,
        without: Sequence[str] = (),
        code: str | None = None,
    ) -> Started:
        """Begin the command line, or code, in a child. without: modules that it must not be able to import."""
        self.count += 1
        stdout, stderr = (self.folder / f"{self.count}.{name}" for name in ("stdout", "stderr"))
        os.mkfifo(stdout)
        request = {
            "arguments": [str(item) for item in arguments],
            "env": dict(env),
            "cwd": str(cwd),
            "without": list(without),
            "code": code,
            "stdout": str(stdout),
            "stderr": str(stderr),
        }
        pid = self.ask(request)
        return Started(self, request["arguments"], pid, stdout, stderr, iter(stdout.open(encoding="utf-8")))

    def run(self, *arguments: Any, **options: Any) -> Finished:
        """Do what `start` does and wait for the end."""
        return self.start(*arguments, **options).finish()

    def ask(self, request: Mapping[str, Any]) -> int:
        """Send a request and return the answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the process that runs the command line has ended"
        return int(answer)


@contextmanager
def warm_process(folder: Path) -> Iterator[Zygote]:
    """Start `warm.py`, and end it afterwards."""
    env = cli_environment(folder, {"HF_HOME": str(folder / "hf"), "HF_ENDPOINT": NO_HUB, "TORCH_HOME": str(folder)})
    command = [sys.executable, "-m", "tests.warm"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env, cwd=ROOT) as process:
        yield Zygote(process, folder)
        assert process.stdin is not None
        process.stdin.close()
