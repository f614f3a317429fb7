"""How work that takes long tells what it does."""

from __future__ import annotations

BYTES = "bytes"
"""The unit of what is transferred: it is shown as kB, MB, GB."""


class Progress:
    """Is told what long work does; this one stays silent. The command line shows it."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def progress(self, what: str, done: int, total: int | None, unit: str) -> None:
        """So much of `what` is done, of so much where that is known: "digits/test", 120, 899, "images"."""
