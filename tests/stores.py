"""Stores as earlier versions left them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def write_old_checksums(compacted: Path) -> None:
    """Give a folder of features the checksums that version 0.1.0 wrote: of its files as they are now."""
    files = sorted(path for path in compacted.iterdir() if path.name != "checksums.json")
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (compacted / "checksums.json").write_text(json.dumps(sums))
