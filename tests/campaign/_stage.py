"""What campaigns of faults of the system share: small stores, commands on them, and what must be true after them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalsuite.features.catalog import entries, leftovers, verify
from tests.archives import tar_of
from tests.datasets import write_folder_task
from tests.file_server import FileServer
from tests.processes import Finished, Zygote, warm_process
from tests.runner.test_kill import measured

CODE = "from tests.campaign import _hook\n_hook.begin()\nfrom evalsuite.cli import main\nmain()\n"

MODEL = """
from tests.models_for_tests import CountingModel


def factory():
    return CountingModel()
"""

TO_FETCH = """
title: three
classes: [x, y]
prompts: {{templates: ['a {{}}.']}}
sources:
  - kind: folder
    path: three
    pools: {{train: a, test: b}}
    files: [{{url: '{url}', unpack: true, makes: [three/a, three/b]}}]
sizes: {{train: 2, test: 2}}
split_fidelity: {{level: convention, why: Made up for the tests.}}
"""

JOBS = 4
"""Of a run: two tasks, two protocols."""

STARTS = {"new": [], "added": ["begun"], "removed": ["whole"], "merged": ["one", "two"], "fetched": []}
"""Scenario -> the stores it begins with, under its folder."""


@dataclass(frozen=True)
class Call:
    """One call of a process that was watched. place: which lines of evalsuite it came from."""

    number: int
    name: str
    place: str
    path: str

    def __str__(self) -> str:
        return f"call {self.number} ({self.name} {self.path})"


@dataclass
class Stage:
    """Two tiny tasks, a model, and a store for each scenario. expected: scenario -> what is in its store afterwards."""

    zygote: Zygote
    folder: Path
    server: FileServer
    calls: dict[str, list[Call]] = field(default_factory=dict)
    expected: dict[str, dict[str, Any]] = field(default_factory=dict)

    def prepare(self, scenarios: Sequence[str]) -> None:
        """Make the data, the stores that scenarios begin with, and note what an undisturbed process does in each."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_folder_task(self.folder / "one", name="one", classes=("red", "green"), train=4, test=2, size=8)
        write_folder_task(self.folder / "two", name="two", classes=("white", "black"), train=4, test=2, size=8)
        (self.folder / "model.py").write_text(MODEL)
        (self.folder / "three.yaml").write_text(TO_FETCH.format(url=self.server.url("three.tar")))
        self.server.files["three.tar"] = tar_of(
            {f"three/{name}/{c}/1.png": b"1" * 9_000 for name in ("a", "b") for c in "xy"}
        )
        for name, options in {"begun": ["--limit", "4"], "one": ["--shard", "1/2"], "two": ["--shard", "2/2"]}.items():
            self.check(self.start(self.run("start/" + name, *options)))
        for scenario in ("new", *(name for name in scenarios if name != "new")):
            store = self.begin(scenario, "undisturbed")
            self.check(self.start(self.command(scenario, store), root="undisturbed"))
            self.calls[scenario] = self.seen()
            if scenario == "new":
                shutil.copytree(self.folder / store, self.folder / "start" / "whole")
            if scenario == "removed":
                self.check(self.start(self.healing(scenario, store)))
            self.expected[scenario] = self.state(scenario, store)
            assert len(self.expected[scenario]) >= JOBS, self.expected[scenario]
            assert self.wrong(scenario, store) == ""

    def begin(self, scenario: str, name: str) -> str:
        """Make the stores of a scenario anew and return the name of that which it changes."""
        root = self.folder / name
        shutil.rmtree(root, ignore_errors=True)
        for start in STARTS[scenario]:
            shutil.copytree(self.folder / "start" / start, root / start)
        return f"{name}/{STARTS[scenario][0] if len(STARTS[scenario]) == 1 else 'store'}"

    def run(self, store: str, *options: str) -> list[str]:
        """Return the arguments of a run over both tasks."""
        folder = self.folder
        return [
            "run", "-m", f"{folder / 'model.py'}:factory",
            "-t", str(folder / "one" / "one.yaml"), "-t", str(folder / "two" / "two.yaml"),
            "-o", str(folder / store / "results"), "--cache-dir", str(folder / store / "cache"),
            "--batch-size", "2", *options,
        ]  # fmt: skip

    def command(self, scenario: str, store: str) -> list[str]:
        """Return the command that is disturbed."""
        cache = str(self.folder / store / "cache")
        if scenario == "removed":
            return ["cache", "rm", "--all", "--yes", "--cache-dir", cache]
        if scenario == "merged":
            sources = [str((self.folder / store).with_name(name)) for name in STARTS["merged"]]
            return ["merge", *sources, "--to", str(self.folder / store)]
        if scenario == "fetched":
            return ["download", str(self.folder / "three.yaml"), "--data-root", str(self.folder / store)]
        return self.run(store)

    def healing(self, scenario: str, store: str) -> list[str]:
        """Return the command after which everything is as if nothing had happened."""
        return self.run(store, "--overwrite") if scenario == "removed" else self.command(scenario, store)

    def start(
        self,
        arguments: Sequence[str],
        root: str = "",
        at: Call | None = None,
        error: int = 0,
        lasting: bool = False,
        after: float = 0.0,
        signal: int = 0,
    ) -> Finished:
        """Run a command to its end. root: below the folder, where its calls count. after, signal: see `_hook`."""
        environment = {
            "FAULT_ROOT": str(self.folder / root),
            "FAULT_LOG": str(self.folder / "calls"),
            "FAULT_AT": "" if at is None else str(at.number),
            "FAULT_ERROR": str(error),
            "FAULT_LASTING": "1" if lasting else "",
            "FAULT_AFTER": str(after),
            "FAULT_SIGNAL": str(signal),
            "no_proxy": "127.0.0.1",
        }
        home = self.folder / "home"
        return self.zygote.run(arguments, self.zygote.environment(home, environment), self.folder, code=CODE)

    def seen(self) -> list[Call]:
        """Return the calls of the last command."""
        lines = (self.folder / "calls").read_text(errors="replace").splitlines()
        parts = [line.split(" ", 3) for line in lines]
        return [Call(int(number), name, place, path) for number, name, place, path in parts]

    def check(self, done: Finished) -> None:
        """See that a command of the preparation ended well."""
        assert done.returncode == 0, (done.arguments, done.stdout, done.stderr)

    def state(self, scenario: str, store: str) -> dict[str, Any]:
        """Return what of a store must be the same whatever happened."""
        if scenario != "fetched":
            return measured(self.folder / store)
        files = (path for path in (self.folder / store).rglob("*") if path.is_file())
        found = {path.relative_to(self.folder / store).as_posix(): path.read_bytes() for path in files}
        return {name: content for name, content in found.items() if not name.startswith(".evalsuite-locks/")}

    def wrong(self, scenario: str, store: str) -> str:
        """Say what is not as it must be after everything was healed; "" where all is well."""
        folder = self.folder / store
        found = self.state(scenario, store)
        if found != self.expected[scenario]:
            names = sorted({*found, *self.expected[scenario]})
            return "other results: " + ", ".join(n for n in names if found.get(n) != self.expected[scenario].get(n))
        problems = [text for entry in entries(folder / "cache") for text in verify(entry, None)]
        left = [*leftovers(folder / "cache"), *folder.rglob(".tmp-*"), *(folder / "results").rglob("*.error.json")]
        return "; ".join([*problems, *(f"left: {path}" for path in left)])

    def choose(
        self, chance: random.Random, names: Sequence[str] = (), scenarios: Collection[str] = ()
    ) -> list[tuple[str, Call]]:
        """Return all calls of scenarios, or those of these names, in a random order."""
        found = [(scenario, call) for scenario in scenarios or self.calls for call in self.calls[scenario]]
        chosen = [(scenario, call) for scenario, call in found if not names or call.name in names]
        chance.shuffle(chosen)
        return chosen


@contextmanager
def prepared(folder: Path, zygote: Zygote | None = None, scenarios: Sequence[str] = tuple(STARTS)) -> Iterator[Stage]:
    """Make a stage in a folder. zygote: one that is started where none is given."""
    server = FileServer()
    try:
        with nullcontext(zygote) if zygote else warm_process(folder) as process:
            stage = Stage(process, folder / "stage", server)
            stage.prepare(scenarios)
            yield stage
    finally:
        server.stop()


def tail(text: str, lines: int = 4) -> str:
    """Return the last lines of what a process printed, in one."""
    return " / ".join(line.strip() for line in text.strip().splitlines()[-lines:])
