"""How what a person types is read: `-t a b`, `help`, options without a command, and how much is to be said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import click

NAMED = "named"
"""The argument of commands that sort names by what they are; further values of these options go there, too."""

_SORTED = ("models", "tasks", "protocols")

_VOLUME = "evalsuite.volume"

Volume = Literal["quiet", "usual", "verbose"]


def as_meant(args: Sequence[str], params: Sequence[click.Parameter]) -> list[str]:
    """Return arguments as click reads them: dashes for underscores, `--help` for `help`, a flag before each value."""
    arguments = [param for param in params if isinstance(param, click.Argument)]
    written = [_with_dashes(argument) for argument in args]
    if written == ["help"] and (not arguments or arguments[0].name == NAMED):
        return ["--help"]
    return _spread(written, params) if all(param.name == NAMED for param in arguments) else written


def with_command(args: Sequence[str], params: Sequence[click.Parameter], default: str | None) -> list[str]:
    """Return the arguments of a group: `help X` is `X --help`, and options without a command are those of `default`."""
    if args and args[0] == "help":
        return [*args[1:], "--help"]
    own = {"-h", "--help", *(flag for param in params for flag in param.opts)}
    start = next((place for place, argument in enumerate(args) if argument not in own), None)
    if default is not None and start is not None and args[start].startswith("-"):
        return [*args[:start], default, *args[start:]]
    return list(args)


def volume_options() -> list[click.Parameter]:
    """Return `-q` and `-v`, which every command takes."""
    return [
        click.Option(
            ["-q", "--quiet"], is_flag=True, expose_value=False, callback=_keep("quiet"),
            help="Say only results and what goes wrong.",
        ),
        click.Option(
            ["-v", "--verbose"], is_flag=True, expose_value=False, callback=_keep("verbose"),
            help="Say also what the libraries below log.",
        ),
    ]  # fmt: skip


def volume() -> Volume:
    """Return how much the running command is to say."""
    context = click.get_current_context(silent=True)
    found: Volume = context.meta.get(_VOLUME, "usual") if context else "usual"
    return found


def _keep(chosen: Volume) -> Callable[[click.Context, click.Parameter, bool], None]:
    def callback(ctx: click.Context, param: click.Parameter, given: bool) -> None:
        if given:
            ctx.meta[_VOLUME] = chosen
        if given and chosen == "verbose":
            from evalsuite.cli.terminal import log_more

            log_more()

    return callback


def _with_dashes(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return "--" + name[2:].replace("_", "-") + equals + value


def _spread(args: Sequence[str], params: Sequence[click.Parameter]) -> list[str]:
    """Write the flag of a repeatable option before each further value: `-t a b` is `-t a -t b`."""
    options = [param for param in params if isinstance(param, click.Option)]
    sorted_here = len(options) < len(params)
    taking = {flag for option in options if not option.is_flag and not option.count for flag in option.opts}
    several = {
        flag for option in options if option.multiple and not (sorted_here and option.name in _SORTED)
        for flag in option.opts
    }  # fmt: skip
    found: list[str] = []
    flag, is_value = "", False
    for place, argument in enumerate(args):
        if argument == "--":
            return [*found, *args[place:]]
        if is_value or not (argument.startswith("-") and len(argument) > 1):
            found += [argument] if is_value or flag not in several else [flag, argument]
            is_value = False
            continue
        short = not argument.startswith("--")
        flag, equals, value = (argument[:2], "", argument[2:]) if short else argument.partition("=")
        is_value = flag in taking and not (equals or value)
        found.append(argument)
    return found
