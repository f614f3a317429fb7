"""What people type and write wrong is answered in a few words that name the thing and what to type instead."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.processes import Zygote

TABLE = yaml.safe_load(Path(__file__).with_name("wrong_inputs.yaml").read_text("utf-8"))
MOST_LINES = 6
PYDANTIC = re.compile(
    r"Input should|should be a valid|Field required|Extra inputs|validation error|errors\.pydantic|unable to parse|"
    r"Value error|Keys should|type=\w+|function-after"
)
"""Sentences of pydantic, which speak to those who wrote the program."""

IN_PYTHON = """
import sys
import evalsuite

try:
    {code}
except (evalsuite.EvalsuiteError, TypeError) as error:
    sys.exit(print(f"Error: {{error}}", file=sys.stderr) or 2)
"""


def name_of(case: dict[str, Any]) -> str:
    return str(case.get("type") or case.get("python") or case.get("change", ["", case.get("file")])[1])[:60]


def test_there_are_enough_of_them() -> None:
    assert len(TABLE["wrong"]) >= 60


@pytest.mark.parametrize("case", TABLE["wrong"], ids=name_of)
def test_what_is_wrong_is_said_in_a_few_lines(zygote: Zygote, tmp_path: Path, case: dict[str, Any]) -> None:
    old, new = case.get("change", ["", ""])
    assert old in TABLE["task"]
    (tmp_path / "birds.yaml").write_text(case.get("file", TABLE["task"].replace(old, new, 1)))
    typed = shlex.split(case.get("type", "run pixels birds.yaml"))
    if typed[:1] == ["run"]:
        typed += [*([] if "-o" in typed or "--output" in typed else ["-o", "out"]), "--cache-dir", "cache", "--dry-run"]
    code = IN_PYTHON.format(code=case["python"]) if "python" in case else None
    done = zygote.run(typed, zygote.environment(tmp_path), tmp_path, code=code)
    assert done.returncode == case.get("code", 2), done.output
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert 0 < len(lines) <= MOST_LINES and "Traceback" not in done.stderr, done.stderr
    assert not PYDANTIC.search(done.stderr), done.stderr
    for words in map(str, case["says"]):
        assert words in done.output or words in done.stderr, f"{words!r} is not in: {done.stderr}"
