"""--config FILE: options from a YAML file, below the command line and above the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from evalsuite.errors import UsageError


def _read(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    if value is None:
        return None
    from evalsuite.registry import did_you_mean
    from evalsuite.tasks.yaml_files import read_yaml

    options = {option: item.name for item in ctx.command.params for option in _names(item) if item is not param}
    defaults: dict[str, Any] = {}
    for key, given in read_yaml(value)[0].items():
        name = options.get(str(key).replace("_", "-"))
        if name is None:
            known = sorted(options)
            raise UsageError(
                f"{value}: unknown option {key!r}.{did_you_mean(str(key), known)} Known: {', '.join(known)}."
            )
        multiple = any(item.name == name and getattr(item, "multiple", False) for item in ctx.command.params)
        defaults[name] = [str(item) for item in (given if isinstance(given, list) else [given])] if multiple else given
    ctx.default_map = {**(ctx.default_map or {}), **defaults}
    return value


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
