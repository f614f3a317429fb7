"""The templates of the pages."""

from __future__ import annotations

from pathlib import Path

import jinja2

TEMPLATES = Path(__file__).with_name("templates")


def environment() -> jinja2.Environment:
    """Return what reads the templates: values are escaped, and one that is missing is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def script() -> str:
    """Return the script of the page: the files of its folder, in the order of their names, one after the other."""
    parts = [path.read_text(encoding="utf-8") for path in sorted((TEMPLATES / "script").glob("*.js"))]
    return f'"use strict";\n(() => {{\n{"".join(parts)}}})();\n'
