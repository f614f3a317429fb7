"""`evalsuite ls` shows what there is."""

from __future__ import annotations

import re
from pathlib import Path

from tests.processes import WarmCli


def test_ls_tasks(cli: WarmCli, shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "country211/train/AD").mkdir(parents=True)
    listed = cli("ls", "tasks", "digits,mnist,country211,fer2013", "--data-root", ".").stdout.splitlines()
    assert [line.split()[:5] for line in listed[2:6]] == [
        ["digits", "10", "accuracy", "convention", "ready"],
        ["mnist", "10", "accuracy", "exact", "absent"],
        ["country211", "211", "accuracy", "exact", "partial"],
        ["fer2013", "7", "accuracy", "convention", "absent"],
    ]
    assert "evalsuite download mnist" in listed[3] and "evalsuite describe fer2013" in listed[5]
    assert f"1 of 4 are ready (data root: {tmp_path})" in listed
    absent = ", ".join(str(tmp_path / "country211" / name) for name in ("valid", "test"))
    assert listed[-1].startswith(f"country211 is there only in part: without images: {absent}.")
    own = cli("ls", "tasks", "shapes", "--include-path", shapes.parent).stdout.splitlines()
    assert own[2].split()[:5] == ["shapes", "3", "accuracy", "convention", "ready"]


def test_ls_groups_and_models(cli: WarmCli) -> None:
    groups = cli("ls", "groups").stdout
    assert re.search(r"^embedded +1 +digits$", groups, re.MULTILINE)
    assert re.search(r"^tag:ocr +\d", groups, re.MULTILINE)
    models = cli("ls", "models", "resnet/*").stdout
    assert re.search(r"^resnet/50 ", models, re.MULTILINE)
    assert "clip/vit-b-32" not in models
    assert "open_clip:ARCH/TAG" in models
