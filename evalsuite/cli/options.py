"""Options that several subcommands share: the same name, the same meaning everywhere."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from math import inf, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

import click

from evalsuite.cli.arguments import as_meant, volume_options, with_command
from evalsuite.data.place import DataPlace
from evalsuite.options import Option, declared
from evalsuite.text import split_names

F = TypeVar("F", bound=Callable[..., Any])

if TYPE_CHECKING:
    TextType = click.ParamType[str]
    NumberType = click.ParamType[float | None]
else:  # not generic before click 8.2
    TextType = NumberType = click.ParamType


class Command(click.Command):
    """A command that reads its arguments as people type them, and whose epilog keeps its lines."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += volume_options()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read `--data_root` as `--data-root`, `-t a b` as `-t a -t b`, and `help` as `--help`."""
        return super().parse_args(ctx, as_meant(args, self.params))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are, a line each."""
        if self.epilog:
            formatter.write_paragraph()
            formatter.write("Examples:\n")
            for line in self.epilog.strip().splitlines():
                formatter.write(f"  {line.strip()}\n")


class Group(click.Group):
    """A group whose subcommands are imported when they are called, so that --help is quick.

    lazy: subcommand -> ("module:attribute", first line of its help). default: the subcommand of options without one.
    """

    command_class = Command

    def __init__(
        self, *args: Any, lazy: dict[str, tuple[str, str]] | None = None, default: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy or {}
        self._default = default

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the subcommands in the order they are declared."""
        return [*self._lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the subcommand, or find it among those that are there."""
        if cmd_name not in self._lazy:
            return super().get_command(ctx, cmd_name)
        import importlib

        module, _, attribute = self._lazy[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands, without importing them, each with its whole first sentence."""
        told = {name: text for name, (_, text) in self._lazy.items()}
        told |= {name: command.get_short_help_str(limit=1_000) for name, command in self.commands.items()}
        with formatter.section("Commands"):
            formatter.write_dl([(name, told[name]) for name in self.list_commands(ctx)])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand; for a wrong one, offer the nearest."""
        if args and self.get_command(ctx, args[0]) is None:
            from evalsuite.registry import did_you_mean

            known = self.list_commands(ctx)
            hint = did_you_mean(args[0], known)
            lines = [f"No such command {args[0]!r}.{hint} Commands: {', '.join(known)}."]
            if "run" in known and not hint:
                lines.append(f"To evaluate a model on a task: evalsuite run {args[0]} ...")
            ctx.fail("\n".join(lines))
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Run the command `default` where none is named, and read `help` as `--help`."""
        return super().parse_args(ctx, with_command(args, self.params, self._default))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are, a line each."""
        Command.format_epilog(self, ctx, formatter)  # type: ignore[arg-type]


def split_commas(values: Sequence[str]) -> list[str]:
    """Return the items of repeated, comma-separated options, each once, in order; see `split_names` for paths."""
    return list(dict.fromkeys(item for value in values for item in split_names(value)))


def split_values(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> list[str]:
    """Do as `split_commas`, for an option that hands its values over so."""
    return split_commas(values)


class Name(TextType):
    """A name, or several with commas between them; completes the known ones when the shell asks."""

    def known(self, typed: str) -> list[str]:
        """Return the names to offer to one who has typed so much."""
        raise NotImplementedError

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """Offer the names that begin as typed."""
        from click.shell_completion import CompletionItem

        before, comma, last = incomplete.rpartition(",")
        return [CompletionItem(before + comma + name) for name in self.known(last) if name.startswith(last)]


class TaskName(Name):
    """A task, a group, tag:..., a glob or a path."""

    name = "task"

    def known(self, typed: str) -> list[str]:
        """Return groups and tasks."""
        from evalsuite.tasks import TaskIndex

        index = TaskIndex()
        return [*index.groups, *sorted(index.files)]


class ModelName(Name):
    """A model."""

    name = "model"

    def known(self, typed: str) -> list[str]:
        """Return the models that have a name of their own."""
        from evalsuite.models.names import known_names

        return known_names()


class ProtocolName(Name):
    """A protocol."""

    name = "protocol"

    def known(self, typed: str) -> list[str]:
        """Return the protocols, and what stands for all of them."""
        from evalsuite.protocols import EVERY, PROTOCOLS

        return [EVERY, *PROTOCOLS.names()]


class ModelOrTask(Name):
    """A model, a task or a protocol."""

    name = "name"

    def known(self, typed: str) -> list[str]:
        """Return all of them."""
        return [*ModelName().known(typed), *TaskName().known(typed), *ProtocolName().known(typed)]


class PromptsName(Name):
    """A set of prompts."""

    name = "prompts"

    def known(self, typed: str) -> list[str]:
        """Return the sets that have a name."""
        from evalsuite.tasks.loading import NAMED_PROMPTS

        return list(NAMED_PROMPTS)


class PublishedName(Name):
    """Published or imported rows."""

    name = "published"

    def known(self, typed: str) -> list[str]:
        """Return tables and rows."""
        from evalsuite.results.library import Library

        return Library().names()


class ContenderName(ModelName):
    """A model, or `published:NAME`."""

    def known(self, typed: str) -> list[str]:
        """Return models, or published rows where that is what is typed."""
        from evalsuite.results.naming import PUBLISHED

        if not typed.startswith(PUBLISHED[:3]):
            return super().known(typed)
        return [PUBLISHED + name for name in PublishedName().known(typed)]


class Number(NumberType):
    """A number within bounds, or with `auto` that word, which becomes None. open: the bounds do not belong to them."""

    name = "number"

    def __init__(
        self, kind: type[int] | type[float], low: float, high: float = inf, *, auto: bool = False, open: bool = False
    ) -> None:
        self.kind, self.low, self.high, self.auto, self.open = kind, low, high, auto, open

    def get_metavar(self, *_: Any, **__: Any) -> str:
        """Return what stands for the value in the help."""
        return "auto|N" if self.auto else "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """Return None for auto, else the number."""
        if value is None or (self.auto and value == "auto"):
            return None
        among = f"of {self.low:g} or more" if self.high == inf else f"between {self.low:g} and {self.high:g}"
        give = f"give {'`auto`, or ' if self.auto else ''}a number {among}"
        try:
            number = self.kind(value)
            if isnan(number):
                raise ValueError
        except ValueError:
            share = ", not a share" if self.kind is int and re.fullmatch(r"0?\.\d+|\d+ ?%", str(value)) else ""
            what = "whole number" if self.kind is int else "number"
            self.fail(f"{value!r} is no {what}: {give}{share}.", param, ctx)
        inside = self.low < number < self.high if self.open else self.low <= number <= self.high
        if not inside:
            self.fail(f"{value} is too {'small' if number <= self.low else 'large'}: {give}.", param, ctx)
        return number


def as_flags(*options: Option) -> Callable[[F], F]:
    """Return a decorator that gives a command the flags of declared options, in their order."""

    def decorate(command: F) -> F:
        for item in reversed(options):
            default = "auto" if item.auto else item.default
            command = click.option(
                *item.flags, item.flag, item.keyword,
                type=_click_type(item),
                is_flag=item.kind is bool,
                default=default,
                multiple=item.several,
                callback=_go_offline if item.keyword == "offline" else split_values if item.several else None,
                show_default=default is not None and item.kind is not bool,
                metavar=item.metavar,
                help=item.help,
            )(command)  # fmt: skip
        return command

    return decorate


def _go_offline(ctx: click.Context, param: click.Parameter, given: bool) -> bool:
    if given:
        os.environ["HF_HUB_OFFLINE"] = "1"  # libraries below read it when they are imported
    return given


def _click_type(item: Option) -> Any:
    kinds = [kind for kind in get_args(item.kind) if kind is not type(None)] or [item.kind]
    if get_origin(item.kind) is Literal:
        return click.Choice(get_args(item.kind))
    if item.keyword == "prompts":
        return PromptsName()
    if item.several:
        return str  # the option itself checks
    if int in kinds and "ge" in item.bounds:
        return Number(int, item.bounds["ge"], auto=item.auto)
    if "gt" in item.bounds:
        return Number(float, item.bounds["gt"], item.bounds["lt"], open=True)
    return click.Path(path_type=Path) if kinds[0] is Path else kinds[0]


models_option = click.option(
    "-m",
    "--model",
    "--models",
    "models",
    multiple=True,
    type=ModelName(),
    metavar="NAME",
    help="Model; repeat it or separate names by commas. `evalsuite ls models` shows them.",
)


def protocols_option(text: str) -> Callable[[F], F]:
    """Return --protocol, which may be repeated. text: of its help, before what holds where none is given."""
    from evalsuite.protocols import DEFAULT_PROTOCOLS

    return click.option(
        "--protocol",
        "--protocols",
        "protocols",
        multiple=True,
        metavar="NAME",
        type=ProtocolName(),
        help=f"{text} [default: {','.join(DEFAULT_PROTOCOLS)}]",
    )


tasks_option = click.option(
    "-t",
    "--tasks",
    "--task",
    "tasks",
    multiple=True,
    type=TaskName(),
    metavar="NAME",
    help="Task, group (all, embedded), tag:TAG, glob or YAML file; repeat it or separate by commas. "
    "`all` is the paper's 27, '*' every known task.",
)
include_path_option = click.option(
    "--include-path",
    "include_paths",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder with more task files; repeatable.",
)
place_options = as_flags(*declared(DataPlace))
data_root_option, cache_dir_option, offline_option, trust_adapters_option = map(as_flags, declared(DataPlace))
