"""What pyproject.toml declares is what the code imports, no more and no less."""

from __future__ import annotations

import ast
import functools
import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

SHIPPED = ("evalsuite", "tasks")
"""Folders whose code an installed wheel runs."""

DEVELOPED = ("benchmarks", "examples", "tests", "training")

USED_BY_OTHERS = {
    "accelerate": "the Trainer of transformers imports it",
    "sentencepiece": "transformers imports it for the tokenizers of SigLIP",
    "tensorboard": "torch.utils.tensorboard imports it",
}
"""What the code asks for by name, and another library imports."""

PARTS = {"pydantic-core": "pydantic fixes its version, and documents imports from it"}
"""What comes with a declared package and is imported under its own name."""

TRACKERS = {"mlflow": "mlflow-skinny", "trackio": "trackio", "wandb": "wandb"}
"""Modules that nobody needs to run the tests, and what they belong to."""

UNDECLARED = {"trackio": "an extra of it would hold back Pillow for everybody, in the one file of constraints"}
"""What is used where it is installed, and left to the person to install."""

ELSEWHERE = {ROOT / "benchmarks" / "peer.py"}
"""What runs in an environment of its own."""

TOOLS = {"hatch-fancy-pypi-readme", "hatchling", "import-linter", "mkdocs", "mkdocs-material", "mkdocstrings", "mypy",
         "pandas-stubs", "pytest-cov", "pytest-xdist", "ruff", "types-pyyaml", "types-tabulate"}  # fmt: skip
"""What a developer starts, or mypy reads; nothing imports it."""


def declared(requirements: Iterable[str]) -> set[str]:
    """Return the names of requirements, as a package index spells them."""
    return {re.split(r"[^\w.-]", text, maxsplit=1)[0].lower().replace("_", "-") for text in requirements}


@functools.cache
def imported(folders: tuple[str, ...]) -> set[str]:
    """Return the distributions that the Python files of these folders import."""
    modules: set[str] = set()
    for folder in folders:
        for path in {*(ROOT / folder).rglob("*.py")} - ELSEWHERE:
            text = path.read_text("utf-8")
            modules.update(re.findall(r'import_module\("(\w+)', text))
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Import):
                    modules.update(name.name.partition(".")[0] for name in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    modules.add(node.module.partition(".")[0])
    foreign = modules - set(sys.stdlib_module_names) - {"evalsuite", *DEVELOPED}
    distributions = {**packages_distributions(), **{module: [name] for module, name in TRACKERS.items()}}
    unknown = foreign - distributions.keys()
    assert not unknown, f"nothing that is installed has the module {unknown}"
    return {distributions[module][0].lower().replace("_", "-") for module in foreign}


NEEDED = declared(PROJECT["dependencies"])
EXTRAS = {name: declared(items) for name, items in PROJECT["optional-dependencies"].items() if name != "dev"}
DEV = declared(PROJECT["optional-dependencies"]["dev"])


def test_every_dependency_is_imported() -> None:
    used = imported(SHIPPED)
    assert used >= NEEDED
    for name, packages in EXTRAS.items():
        assert packages <= used | USED_BY_OTHERS.keys(), name
    assert used | imported(DEVELOPED) | TOOLS | USED_BY_OTHERS.keys() >= DEV


def test_every_import_is_declared() -> None:
    optional = set().union(*EXTRAS.values())
    assert imported(SHIPPED) <= NEEDED | optional | PARTS.keys() | UNDECLARED.keys()
    assert imported(DEVELOPED) <= NEEDED | DEV


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-lowest.txt"])
def test_constraints_are_names_and_versions_of_all_that_is_declared(name: str) -> None:
    lines = (ROOT / name).read_text("utf-8").splitlines()
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.!+]+( ; .*)?", line) for line in lines)
    assert declared(lines) >= NEEDED | DEV
