"""Run a notebook without Jupyter, which would be thirty packages: `python -m tests.notebook FILE` writes its outputs.

A cell is code whose last line, where it is an expression, is shown as the notebook would: its text, and its HTML.
"""

from __future__ import annotations

import ast
import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

Cell = dict[str, Any]


def read(path: Path) -> dict[str, Any]:
    """Return the content of a notebook."""
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def run(cells: list[Cell]) -> list[Cell]:
    """Return the cells with what they give now, one after another in one namespace; their errors are raised."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    code = 0
    found = []
    for cell in cells:
        if cell["cell_type"] == "code":
            code += 1
            cell = {**cell, "execution_count": code, "outputs": _outputs("".join(cell["source"]), namespace, code)}
        found.append(cell)
    return found


def _outputs(source: str, namespace: dict[str, Any], number: int) -> list[dict[str, Any]]:
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    value = None
    with redirect_stdout(printed):
        exec(compile(tree, f"<cell {number}>", "exec"), namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"<cell {number}>", "eval"), namespace)  # noqa: S307 - a notebook of ours
    outputs = []
    if printed.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": _lines(printed.getvalue())})
    if value is not None:
        data = {"text/plain": _lines(repr(value))}
        if hasattr(value, "_repr_html_"):
            data = {"text/html": _lines(value._repr_html_()), **data}
        outputs.append({"data": data, "execution_count": number, "metadata": {}, "output_type": "execute_result"})
    return outputs


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def main() -> None:
    """Run the notebooks that the command line names, each in its own folder's place, and write them with outputs."""
    for name in sys.argv[1:]:
        path = Path(name)
        content = read(path)
        content["cells"] = run(content["cells"])
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
