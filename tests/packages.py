"""Packages that tests install into a folder of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def install(site: Path, entry_points: str, files: Mapping[str, str]) -> dict[str, str]:
    """Write a package into `site` as an installer does; return the environment in which it can be imported.

    entry_points: the text of its entry_points.txt. files: name -> text of its modules.
    """
    information = site / "made_for_a_test-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: made-for-a-test\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(entry_points)
    for name, text in files.items():
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_text(text)
    return {"PYTHONPATH": f"{site}:{ROOT}"}
