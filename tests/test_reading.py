"""Text, JSON, CSV and YAML of anybody: within limits, and every error says where."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import evalsuite
from evalsuite.errors import DataError, SpecError
from evalsuite.reading import MOST_BYTES, parse_json, read_bytes, read_csv, read_text
from evalsuite.yaml_loading import MOST_NODES, load_yaml, parse_yaml

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
)


def test_what_is_no_text_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n1,2\n\xff,3\n")
    with pytest.raises(SpecError, match=r"a\.csv, line 3: it is no text in UTF-8 \(byte 0xff\)"):
        read_text(path)
    path.write_bytes(b"\xef\xbb\xbfa,b\r\n1,2\r\n")
    assert read_csv(path) == (["a", "b"], [(2, ["1", "2"])])


def test_what_is_no_file_or_too_large(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no file"):
        read_bytes(tmp_path / "a", error=DataError)
    with pytest.raises(SpecError, match="is no file"):
        read_bytes(tmp_path)
    with pytest.raises(SpecError, match="is no file"):
        read_bytes(Path("/dev/zero"))
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", MOST_BYTES + 1)
    with pytest.raises(SpecError, match="larger than 16 MB"):
        read_bytes(tmp_path / "large")


@pytest.mark.parametrize(
    ("text", "why"),
    [("[" * 100_000, "nested too deeply"), ("{", "not JSON"), ("9" * 5_000, "not JSON"), ("", "not JSON")],
)
def test_what_is_no_json(text: str, why: str) -> None:
    with pytest.raises(SpecError, match=f"here.* {why}"):
        parse_json(text, "here")


def test_a_row_of_another_length_and_a_cell_without_end(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n3\n")
    with pytest.raises(SpecError, match=r"line 3: 1 cell where the header has 2"):
        read_csv(path)
    path.write_text('a,b\n1,"' + "x" * 200_000)
    with pytest.raises(SpecError, match=r"line \d: it is no CSV \(field larger"):
        read_csv(path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (LAUGHS, f"more than {MOST_NODES:,} keys and values"),
        ("a: &a [*a]", "line 1, column 8: the alias 'a' stands for nothing, or for itself"),
        ("b: *a", "alias 'a' stands for nothing"),
        ("[" * 300_000, "more than 40 lists and mappings"),
        ("- " * 100 + "a", "more than 40 lists and mappings"),
        ("x: 1\ny: !!int x", "line 2, column 4: 'x' is no int"),
        ("x: !!bool x", "'x' is no bool"),
        ("x: !!timestamp x", "'x' is no timestamp"),
        (f"x: {'9' * 5_000}", "more than 18 digits: put it in quotes"),
        ("x: !!python/object/apply:os.system [id]", "a tag that is not read here"),
        ("[a]: 1", "in the place of a key"),
        ('x: "a\\0b"', "the character NUL"),
        ("x: \0", "not valid YAML"),
        ("a" * (5 << 20), "larger than 4 MB"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_yaml_that_is_refused_in_few_words(text: str, why: str) -> None:
    with pytest.raises(SpecError, match="here") as caught:
        parse_yaml(text, "here")
    said = str(caught.value)
    assert why in said and len(said) < 300 and said.count("\n") <= 1


def test_text_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("[2024-05-01, 2024-13-45, 12:30, 007, =, 0o7, 1_000, -3, 0x10, 1.5, true, ~, 99999999999999999]")
    texts = ["2024-05-01", "2024-13-45", "12:30", "007", "=", "0o7"]
    assert load_yaml(path)[0] == [*texts, 1000, -3, 16, 1.5, True, None, 99999999999999999]


def test_an_alias_of_moderate_size_is_fine() -> None:
    value, _ = parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]", "here")
    assert value == {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": [{"x": 1}, {"x": 1}]}


@pytest.mark.parametrize(
    ("call", "allowed"),
    [
        (r"yaml\.(safe_)?load|yaml\.(parse|compose)", ["yaml_loading.py"]),
        (r"click\.(s?echo|secho)", ["cli/destination.py", "cli/terminal.py"]),
        (r"\bcsv\.(reader|DictReader)", ["reading.py"]),
    ],
)
def test_there_is_one_way_in_and_one_way_out(call: str, allowed: list[str]) -> None:
    root = Path(evalsuite.__file__).parent
    found = [
        path.relative_to(root).as_posix() for path in root.rglob("*.py") if re.search(call, path.read_text("utf-8"))
    ]
    assert sorted(found) == allowed
