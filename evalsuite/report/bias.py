"""Tables 3 to 7 of the paper for measured models: how well people of each group are classified, and as what.

Tables 3 to 5 are counted from the predictions that `--log-samples` keeps, tables 6 and 7 from the counts in the records
of the protocol `bias`. Every share has its Clopper-Pearson interval; that of a rate is of the first template, and next
to it is the range over all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from evalsuite.errors import EvalsuiteError
from evalsuite.records import Interval, Strict, first_problem
from evalsuite.report.bias_words import MEANING, TITLES
from evalsuite.report.editions import edition_notes
from evalsuite.results.bias_tables import BiasPaper
from evalsuite.results.naming import select
from evalsuite.results.numbers import Number, Numbers, model_label, newest, protocol_label, told_apart
from evalsuite.results.samples import samples_of
from evalsuite.text import counted

BIAS, RACE, GENDER, AGE = "bias", "race", "gender", "age"
OR_NOT = "race, {} or not"
"""The column of race as one of two: the reference, or any other."""

AVERAGE, BOTH, ALL = "average", "both", "all"


@dataclass(frozen=True)
class Share:
    """A share of images. n, interval: none for printed ones; least, most: over all templates, where there are any."""

    value: float
    n: int | None = None
    interval: Interval | None = None
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class BiasLine:
    """A line of a table. of: a model, or the paper. cells: column -> share; partial: of a part of the images."""

    what: str
    of: str
    cells: Mapping[str, Share]
    partial: bool = False

    @property
    def is_measured(self) -> bool:
        """Whether it is counted here, and not printed in the paper."""
        return any(cell.n is not None for cell in self.cells.values())


@dataclass(frozen=True)
class BiasTable:
    """One table. number: that of the paper, or `text`, or "" where the paper has none."""

    number: str
    title: str
    columns: tuple[str, ...]
    lines: tuple[BiasLine, ...]


@dataclass(frozen=True)
class BiasReport:
    """All tables that there are numbers for. notes: what to know of these; meaning: of all such tables."""

    tables: tuple[BiasTable, ...]
    notes: tuple[str, ...]
    meaning: tuple[str, ...] = MEANING


class _Count(Strict):
    """A count of a record, as `evalsuite.protocols.bias` writes it."""

    template: str
    added: bool
    set: str
    group: str
    n: Annotated[int, Field(ge=0)]
    found: dict[str, Annotated[int, Field(ge=0)]]

    @model_validator(mode="after")
    def _no_more_than_there_are(self) -> _Count:
        if sum(self.found.values()) > self.n:
            raise ValueError("more images were counted than there are")
        return self


class _Counts(Strict):
    """The details of a record, as `evalsuite.protocols.bias` writes them."""

    templates: Annotated[list[str], Field(min_length=1)]
    people: list[str]
    categories: dict[str, list[str]]
    added: list[str]
    counts: Annotated[list[_Count], Field(min_length=1)]

    @property
    def labels(self) -> list[str]:
        """The labels of all categories."""
        return [label for labels in self.categories.values() for label in labels]


@dataclass(frozen=True)
class _Rates:
    """What was counted with one model. named: how its protocol is written where its options are not the default."""

    model: str
    named: str
    partial: bool
    counted: _Counts

    def line(self, what: str, labels: Sequence[str], by: str, *, added: bool = False) -> BiasLine:
        """Return how many images of each group of a set, and of all, are given one of the labels."""
        rounds: dict[str, dict[str, tuple[int, int]]] = {}
        for count in self.counted.counts:
            if count.added == added and count.set in (by, ALL):
                found = sum(count.found.get(label, 0) for label in labels)
                rounds.setdefault(count.template, {})[count.group] = found, count.n
        cells: dict[str, Share | None] = {}
        for group, (found, n) in next(iter(rounds.values()), {}).items():
            share = _share(found, n)
            if share is not None:
                values = [one[group][0] / n for one in rounds.values() if group in one]
                share = replace(share, least=min(values), most=max(values))
            cells[group] = share
        return _line(f"{what} ({self.named})" if self.named else what, self.model, cells, self.partial)


@dataclass(frozen=True)
class _Model:
    """What was measured of one model. rates: of the protocol `bias`; accuracies: protocol -> label set -> number."""

    label: str
    rates: list[Number] = field(default_factory=list)
    accuracies: dict[str, dict[str, Number]] = field(default_factory=dict)

    @property
    def numbers(self) -> list[Number]:
        """All of them."""
        return [*self.rates, *(number for sets in self.accuracies.values() for number in sets.values())]


@dataclass(frozen=True)
class _Answers:
    """Right classes and predictions of one protocol: set -> image -> class. classes: of each set, in order."""

    truth: Mapping[str, Mapping[str, str]]
    said: Mapping[str, Mapping[str, str]]
    classes: Mapping[str, tuple[str, ...]]
    partial: bool

    def share(self, name: str, images: Iterable[str], reference: str = "") -> Share | None:
        """Return how many of the images get their class of a set. reference: this one and any other are two classes."""
        truth, said = self.truth.get(name, {}), self.said.get(name, {})
        pairs = [(truth[image], said[image]) for image in images if image in said]
        return _share(sum((a == reference) == (b == reference) if reference else a == b for a, b in pairs), len(pairs))


def build_bias(table: Numbers, paper: BiasPaper, *, models: Sequence[str] = ()) -> BiasReport:
    """Return the tables of the models that were measured. models: names, by default all.

    A model without predictions or counts has no line; where nobody has any, there is no table.
    """
    chosen = select(table, models=models).chosen.numbers if models else table.numbers
    found = _by_model([one for one in newest(chosen) if one.is_measured and one.task in paper.tasks], paper)
    notes = edition_notes(number for model in found for number in model.numbers)
    tables = [*_accuracy_tables(found, paper, notes), *_rate_tables(found, paper, notes)]
    if any(line.partial for one in tables for line in one.lines):
        notes.append("*: computed from a part of the images.")
    return BiasReport(tuple(tables), tuple(dict.fromkeys(notes)))


def _by_model(numbers: Sequence[Number], paper: BiasPaper) -> list[_Model]:
    states, models = told_apart(numbers), dict[tuple[str, str], _Model]()
    sets = {task: name for name, task in paper.sets.items()}
    for number in numbers:
        label = model_label(number.model, states[number.model_key])
        model = models.setdefault((number.model, number.state), _Model(label))
        if number.task == paper.task and number.protocol == BIAS:
            model.rates.append(number)
        elif number.task in sets:
            protocol = protocol_label(number.protocol, number.options)
            model.accuracies.setdefault(protocol, {})[sets[number.task]] = number
    return sorted(models.values(), key=lambda model: model.label)


def _share(found: int, n: int) -> Share | None:
    if n == 0:
        return None
    from evalsuite.stats import clopper_pearson  # scipy takes a third of a second

    return Share(found / n, n, clopper_pearson(found, n))


def _printed(paper: BiasPaper, table: str) -> list[BiasLine]:
    of = f"{paper.origin}, {paper.model}" if table in ("6", "text", "7") else paper.origin
    return [
        BiasLine(what, of, {column: Share(value) for column, value in values.items()})
        for what, values in paper.printed(table).items()
    ]


# --- tables 3 to 5


def _accuracy_tables(models: Sequence[_Model], paper: BiasPaper, notes: list[str]) -> Iterator[BiasTable]:
    answers = {
        (model.label, protocol): found
        for model in models
        for protocol, numbers in model.accuracies.items()
        if (found := _answers(model.label, protocol, numbers, notes)) is not None
    }
    races: dict[str, str] = {}
    for found in answers.values():
        races |= found.truth.get(RACE, {})
    if not races:
        return
    reference, binary = paper.reference, OR_NOT.format(paper.reference)
    for number, wanted in (("3", True), ("4", False)):
        images = [image for image, race in races.items() if (race == reference) == wanted]
        lines = []
        for (label, protocol), found in answers.items():
            cells = {name: found.share(name, images) for name in (RACE, GENDER, AGE)}
            cells[binary] = found.share(RACE, images, reference)
            lines.append(_line(protocol, label, cells, found.partial))
        printed = [
            BiasLine(line.what, line.of, {**line.cells, binary: line.cells[RACE]}) for line in _printed(paper, number)
        ]
        yield BiasTable(number, TITLES[number].format(reference), (RACE, binary, GENDER, AGE), (*lines, *printed))
    yield _gender_table(answers, races, paper)
    notes.append(
        f"The paper does not say how many races its column counts in tables 3 and 4: its numbers stand in both, "
        f"that of all races and that of {reference} or not."
    )


def _gender_table(answers: Mapping[tuple[str, str], _Answers], races: Mapping[str, str], paper: BiasPaper) -> BiasTable:
    """Return table 5: the accuracy of gender by race; the average is that of the races, each counting the same."""
    printed = _printed(paper, "5")
    columns = [column for column in printed[0].cells if column != AVERAGE]
    lines = []
    for (label, protocol), found in answers.items():
        genders = found.truth.get(GENDER, {})
        for who in (*found.classes[GENDER], BOTH) if genders else ():
            of_race = {
                race: [i for i, own in races.items() if own == race and (who == BOTH or genders.get(i) == who)]
                for race in columns
            }
            cells = {race: found.share(GENDER, images) for race, images in of_race.items()}
            values = [cell.value for cell in cells.values() if cell is not None]
            if len(values) == len(columns):
                cells[AVERAGE] = Share(sum(values) / len(values))
            lines.append(_line(f"{protocol}, {who}", label, cells, found.partial))
    return BiasTable("5", TITLES["5"], (*columns, AVERAGE), (*lines, *printed))


def _answers(label: str, protocol: str, numbers: Mapping[str, Number], notes: list[str]) -> _Answers | None:
    truth: dict[str, dict[str, str]] = {}
    said: dict[str, dict[str, str]] = {}
    classes: dict[str, tuple[str, ...]] = {}
    for name, number in numbers.items():
        try:
            logged = samples_of(number.stored, scores=False) if number.stored else None
        except EvalsuiteError as error:
            notes.append(f"{label} {number.task} ({protocol}) is left out: {error}")
            continue
        if logged is None:
            notes.append(
                f"{label} {number.task} ({protocol}) is left out: its predictions are not stored. Type: evalsuite run "
                f"-m {number.name} -t {number.task} --protocol {number.protocol} --log-samples"
            )
            continue
        keys, images = logged.classes, logged.ids.tolist()
        classes[name] = keys
        truth[name] = dict(zip(images, (keys[label] for label in logged.labels.tolist()), strict=True))
        said[name] = dict(zip(images, (keys[label] for label in logged.predictions.tolist()), strict=True))
    return _Answers(truth, said, classes, any(one.partial for one in numbers.values())) if said else None


# --- tables 6 and 7


def _rate_tables(models: Sequence[_Model], paper: BiasPaper, notes: list[str]) -> Iterator[BiasTable]:
    measured = [
        rates
        for model in models
        for number in model.rates
        if (rates := _counted(model.label, number, notes)) is not None
    ]
    if not measured:
        return
    for name, by in (("6", RACE), ("text", GENDER)):
        lines = [
            one.line(category, labels, by) for one in measured for category, labels in one.counted.categories.items()
        ]
        yield _with_columns(name, lines, _printed(paper, name))
    lines = []
    for one in measured:
        lines.append(one.line("default labels", one.counted.labels, AGE))
        if added := one.counted.added:
            lines.append(one.line(f"with {', '.join(added)}", one.counted.labels, AGE, added=True))
    yield _with_columns("7", lines, _printed(paper, "7"))
    yield _with_columns("", [one.line(label, [label], RACE) for one in measured for label in one.counted.labels], [])


def _counted(label: str, number: Number, notes: list[str]) -> _Rates | None:
    """Return what a record counted, and note which templates it is of; None, with a note, where it cannot be read."""
    named = protocol_label(number.protocol, number.options)
    try:
        found = _Counts.model_validate(number.record.details if number.record else {})
    except ValidationError as error:
        notes.append(f"{label} ({named}) is left out: the record has no counts ({first_problem(error)}).")
        return None
    rounds = f"{counted(len(found.templates), 'template')}{' and their mean' if len(found.templates) > 1 else ''}"
    notes.append(
        f"{label} ({named}): rates and intervals are of the template {found.templates[0]!r}, ranges over {rounds}: "
        f"{', '.join(map(repr, found.templates))}."
    )
    return _Rates(label, named if number.options else "", number.partial, found)


def _with_columns(number: str, lines: Sequence[BiasLine], printed: Sequence[BiasLine]) -> BiasTable:
    columns = tuple(dict.fromkeys(column for line in lines for column in line.cells))
    return BiasTable(number, TITLES[number], columns, (*lines, *printed))


def _line(what: str, of: str, cells: Mapping[str, Share | None], partial: bool) -> BiasLine:
    return BiasLine(what, of, {column: cell for column, cell in cells.items() if cell is not None}, partial)
