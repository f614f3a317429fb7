"""A page of small pictures that asks nobody for anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jinja2

TEMPLATES = Path(__file__).with_name("templates")


def contact_sheet(title: str, captions: Sequence[tuple[str, str]], pictures: Sequence[str]) -> str:
    """Return a page of pictures in their order.

    captions: the name of each and a line below it. pictures: their data URIs, "" where there is none.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    items = [(name, line, picture) for (name, line), picture in zip(captions, pictures, strict=True)]
    return environment.get_template("contact_sheet.html.jinja").render(title=title, items=items)
