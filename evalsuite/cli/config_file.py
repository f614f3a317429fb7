"""--config FILE: options from a YAML file, below the command line and above the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from evalsuite.errors import UsageError
from evalsuite.text import brief


def _read(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    if value is None:
        return None
    from evalsuite.registry import did_you_mean
    from evalsuite.tasks.yaml_files import read_yaml

    options = {option: item for item in ctx.command.params for option in _names(item) if item is not param}
    defaults: dict[str, Any] = {}
    for key, given in read_yaml(value)[0].items():
        item = options.get(str(key).replace("_", "-"))
        if item is None:
            known = sorted(options)
            raise UsageError(
                f"{value}: unknown option {key!r}.{did_you_mean(str(key), known)} Known: {', '.join(known)}."
            )
        if given is not None:
            defaults[str(item.name)] = _typed(item, given, f"{value}: {key}")
    ctx.default_map = {**(ctx.default_map or {}), **defaults}
    return value


def _typed(item: click.Parameter, given: Any, place: str) -> Any:
    """Return a value of the file as it would come from the command line; UsageError for one of another kind."""
    if getattr(item, "is_flag", False):
        if not isinstance(given, bool):
            raise UsageError(f"{place}: it must be true or false, not {brief(repr(given), letters=80)}.")
        return given
    several = bool(getattr(item, "multiple", False))
    values = given if several and isinstance(given, list) else [given]
    strange = [part for part in values if isinstance(part, bool) or not isinstance(part, str | int | float)]
    if strange:
        wanted = "a text, a number or a list of them" if several else "a text or a number"
        raise UsageError(f"{place}: it must be {wanted}, not {brief(repr(strange[0]), letters=80)}.")
    texts = [str(part) for part in values]
    return texts if several else texts[0]


def _names(item: click.Parameter) -> list[str]:
    return [option.removeprefix("--") for option in item.opts if option.startswith("--")]


config_option = click.option(
    "-C",
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=_read,
    help="YAML file with any of these options (model: [ViT-B/32], tasks: all, ...); the command line wins.",
)
