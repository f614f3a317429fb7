"""A page of small pictures that asks nobody for anything."""

from __future__ import annotations

from collections.abc import Sequence

from evalsuite.report.html.templates import environment


def contact_sheet(title: str, captions: Sequence[tuple[str, str]], pictures: Sequence[str]) -> str:
    """Return a page of pictures in their order.

    captions: the name of each and a line below it. pictures: their data URIs, "" where there is none.
    """
    items = [(name, line, picture) for (name, line), picture in zip(captions, pictures, strict=True)]
    return environment().get_template("contact_sheet.html.jinja").render(title=title, items=items)
