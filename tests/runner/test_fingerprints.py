"""What is in a fingerprint: every field that decides a number, one by one, and any that will be added."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Union, cast, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from evalsuite.data import opening
from evalsuite.data.base import DataState, Pool, RawPool, Split
from evalsuite.data.place import DataPlace
from evalsuite.executors.local import LocalExecutor
from evalsuite.features.encoding import Precision
from evalsuite.models import identity
from evalsuite.models.identity import fingerprint as model_fingerprint
from evalsuite.options import RunOptions, declared
from evalsuite.protocols import PROTOCOLS, EvaluationProtocol
from evalsuite.runner.fingerprints import changed_options, options_hash, result_fingerprint, variant
from evalsuite.runner.models import ModelSession
from evalsuite.runner.tasks import NOT_IN_FINGERPRINT, TaskSession
from evalsuite.tasks import load_task_file
from evalsuite.tasks.bias import BiasSpec
from evalsuite.tasks.loading import PromptChoice
from evalsuite.tasks.sources import FolderSpec
from evalsuite.tasks.spec import TaskSpec
from evalsuite.tasks.split_rules import FoldSplits, OfficialSplits, SampledSplits
from tests.datasets import write_folder_task
from tests.models_for_tests import ArrayReader, CountingModel

BUILT_IN = [name for name in PROTOCOLS.names() if PROTOCOLS.get(name).__module__.startswith("evalsuite.")]


# --- values of any declared type


def values_of(kind: Any, bounds: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Return values of a type that are within its bounds, as `Option` and pydantic call them."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, types.UnionType):
        return st.one_of([values_of(part, bounds) for part in get_args(kind)])
    low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    if kind is int:
        return st.integers(low if low is not None else -1000, high if high is not None else 1000)
    if kind is float:
        least, most = (0.0 if low is None else float(low)), (1e6 if high is None else float(high))
        return st.floats(least, most, exclude_min="gt" in bounds, exclude_max="lt" in bounds)
    if kind is str:
        return st.text(min_size=1)
    return cast("st.SearchStrategy[Any]", st.from_type(kind))


def fields_of(kind: type) -> dict[str, st.SearchStrategy[Any]]:
    """Return name -> values of each field of a dataclass that can be given."""
    hints, options = get_type_hints(kind), {item.name: item for item in declared(kind)}
    return {
        item.name: values_of(hints[item.name], options[item.name].bounds if item.name in options else {})
        for item in dataclasses.fields(kind)
        if item.init
    }


def two(data: st.DataObject, strategy: st.SearchStrategy[Any]) -> tuple[Any, Any]:
    """Draw two values that are not the same."""
    first = data.draw(strategy)
    return first, data.draw(strategy.filter(lambda value: value != first))


# --- options


ELSEWHERE = {"precision", "prompts"}
"""Options that tell results apart by the model's run key, or by the prompts of the protocol."""

DECIDE_NOTHING = {
    "output", "device", "batch_size", "workers", "executor", "overwrite", "verify", "download", "skip_missing", "shard",
    "no_wait", "calibrate", "save_head", "log_samples", "log_to", "command", "cache",
}  # fmt: skip
"""Options of a run of which no number depends: how, where and what else is done."""

RECORDED = {item.name for item in declared(RunOptions) if item.recorded}


def test_every_option_of_a_run_decides_numbers_or_does_not() -> None:
    """A new one has to be `recorded`, or to be listed above by somebody who has thought about it."""
    names = {item.name for item in dataclasses.fields(RunOptions)}
    assert names == RECORDED | ELSEWHERE | DECIDE_NOTHING
    assert not RECORDED & DECIDE_NOTHING


@pytest.mark.parametrize("name", sorted(RECORDED))
@given(data=st.data())
@settings(deadline=None, max_examples=20)
def test_results_of_two_values_of_a_recorded_option_are_two(name: str, data: st.DataObject) -> None:
    values = two(data, fields_of(RunOptions)[name])
    told_apart = []
    for protocol in (PROTOCOLS.get(kind)() for kind in BUILT_IN):
        first, second = (changed_options(protocol, replace(RunOptions(), **{name: value})) for value in values)
        told_apart.append(options_hash(first) != options_hash(second))
    assert any(told_apart)  # another layer is for those that read no text


@given(data=st.data())
@settings(deadline=None, max_examples=20)
def test_other_options_do_not_tell_results_apart(data: st.DataObject) -> None:
    known = fields_of(RunOptions)
    given_values = {name: data.draw(known[name]) for name in sorted(DECIDE_NOTHING - {"output"})}
    changed = replace(RunOptions(), **given_values)
    for protocol in (PROTOCOLS.get(name)() for name in BUILT_IN):
        assert options_hash(changed_options(protocol, changed)) is None
        assert fingerprint_of(Parts(), protocol, changed) == fingerprint_of(Parts(), protocol)
    assert variant(changed) == variant(RunOptions())


FIELDS = [(name, part) for name in BUILT_IN for part in fields_of(PROTOCOLS.get(name).Options)]


@pytest.mark.parametrize(("protocol", "name"), FIELDS)
@given(data=st.data())
@settings(deadline=None, max_examples=20)
def test_two_values_of_an_option_of_a_protocol_are_two_results(protocol: str, name: str, data: st.DataObject) -> None:
    kind = PROTOCOLS.get(protocol)
    pair = two(data, fields_of(kind.Options)[name])
    first, second = (kind(kind.Options(**{name: value})) for value in pair)
    assert fingerprint_of(Parts(), first) != fingerprint_of(Parts(), second)
    hashes = [options_hash(changed_options(item, RunOptions())) for item in (first, second)]
    assert hashes[0] != hashes[1]


def test_what_a_protocol_derives_of_its_options_is_in_the_fingerprint() -> None:
    """Fields that cannot be given, such as a tolerance that follows from another, count as well."""
    for kind in map(PROTOCOLS.get, BUILT_IN):
        assert asdict(kind().options).keys() == {item.name for item in dataclasses.fields(kind.Options)}


# --- what a result is the answer to


@dataclass(frozen=True)
class Parts:
    """What a session says of a task; every field decides numbers."""

    definition: str = "the rules"
    digests: tuple[str, ...] = ("train", "test")
    groups: tuple[str, ...] = ()
    model_key: str = "key"
    seed: int = 0
    name: str = "linear_probe"
    version: int = 1
    options: int = 1


@dataclass(frozen=True)
class AnyOptions:
    """Options of a protocol for tests."""

    number: int = 1


class Session:
    """A `TaskSession` that says what it is told to."""

    def __init__(self, parts: Parts) -> None:
        self.parts, self.task = parts, None

    def definition(self, protocol: EvaluationProtocol) -> dict[str, object]:
        return {"rules": self.parts.definition}

    def splits(self, protocol: EvaluationProtocol) -> Sequence[str]:
        return self.parts.digests

    def split_digest(self, split: str) -> str:
        return split

    def group_digests(self) -> list[str]:
        return list(self.parts.groups)


def fingerprint_of(parts: Parts, protocol: EvaluationProtocol | None = None, options: RunOptions | None = None) -> str:
    """Return the fingerprint of a result."""
    if protocol is None:
        base = PROTOCOLS.get("linear_probe")
        kind = type("Any", (base,), {"name": parts.name, "version": parts.version, "Options": AnyOptions})
        protocol = kind(AnyOptions(parts.options))
    else:
        kind = type("Any", (type(protocol),), {"version_for": lambda self, task: 1})  # it would ask for the task
        protocol = kind(protocol.options)
    session = cast("TaskSession", Session(parts))
    return result_fingerprint(session, protocol, parts.model_key, replace(options or RunOptions(), seed=parts.seed))


PARTS = get_type_hints(Parts)


@pytest.mark.parametrize("name", sorted(PARTS))
@given(data=st.data())
@settings(deadline=None, max_examples=20)
def test_each_part_decides_whether_a_result_still_holds(name: str, data: st.DataObject) -> None:
    strategy = st.from_type(PARTS[name])
    first, second = two(data, strategy)
    assert fingerprint_of(replace(Parts(), **{name: first})) != fingerprint_of(replace(Parts(), **{name: second}))


def test_the_fingerprint_of_a_result_stays_what_it_was() -> None:
    """As long as it does, stored results are current."""
    assert fingerprint_of(Parts()) == "70a63bee0fa5ce3f39e49234f792d3a9c4a57ac345530f62734163403ea1f28e"
    assert options_hash({"b": 1, "a": 2}) == options_hash({"a": 2, "b": 1}) and options_hash({}) is None
    assert variant(RunOptions()) == ()
    assert variant(RunOptions(compile=True)) == ("compile",)
    assert variant(RunOptions(compile=True, decoder="torchvision")) == ("compile", "decoder torchvision")


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_layer_counts_where_images_are_read_alone_and_prompts_where_texts_are(name: str) -> None:
    protocol = PROTOCOLS.get(name)()
    of_images = not protocol.needs_text
    other, same = RunOptions(layer="blocks.3"), RunOptions(layer=protocol.layer)
    plain = fingerprint_of(Parts(), protocol)
    assert (fingerprint_of(Parts(), protocol, other) != plain) == of_images
    assert changed_options(protocol, other) == ({"layer": "blocks.3"} if of_images else {})
    assert fingerprint_of(Parts(), protocol, same) == plain and changed_options(protocol, same) == {}
    (prompted,) = protocol.with_prompts([PromptChoice("simple", "simple")])
    assert changed_options(prompted, RunOptions()) == ({} if of_images else {"prompts": "simple"})
    grouped = fingerprint_of(Parts(groups=("a",)), protocol)
    assert (grouped != plain) == protocol.needs_training


# --- task files


OTHER: Mapping[str, Any] = {
    "name": "others",
    "classes": ["blue", "green", "red"],
    "splits": OfficialSplits(test="train"),
    "refit": "train",
    "max_unreadable": 1,
    "max_pixels": 1000,
    "max_aspect": 2,
    "metric": "mean_per_class_recall",
    "multilabel": True,
    "bias": BiasSpec(sets={"colour": ["red", "green", "blue"]}, people=["man"], categories={"crime": ["thief"]}),
}
"""Another value of each field of a task file that decides numbers."""


@pytest.fixture
def session(tmp_path: Path) -> Callable[..., TaskSession]:
    """Return a session of a task of which some fields are other."""
    path = write_folder_task(tmp_path / "shapes")

    def make(**fields: Any) -> TaskSession:
        prompts = fields.pop("prompt_spec", None)
        task = load_task_file(path)
        if "classes" in fields:
            fields["classes"] = [item for key in fields["classes"] for item in task.class_list if item.key == key]
        task = task.changed(prompts=prompts, **fields)
        return TaskSession(task, RunOptions(), DataPlace(tmp_path, tmp_path / "cache"))

    return make


def test_every_field_of_a_task_file_decides_numbers_or_does_not() -> None:
    """A new one has to be in `OTHER`, or in the list of those that change no number."""
    assert TaskSpec.model_fields.keys() == OTHER.keys() | NOT_IN_FINGERPRINT
    assert not OTHER.keys() & NOT_IN_FINGERPRINT


@pytest.mark.parametrize("name", OTHER)
def test_each_deciding_field_of_a_task_file_changes_its_definition(
    session: Callable[..., TaskSession], name: str
) -> None:
    plain, changed = session(), session(**{name: OTHER[name]})
    for protocol in (PROTOCOLS.get(kind)() for kind in ("linear_probe", "zero_shot")):
        assert plain.definition(protocol) != changed.definition(protocol)


@pytest.mark.parametrize("kind", [OfficialSplits, SampledSplits, FoldSplits])
def test_a_split_rule_counts_with_all_its_fields(session: Callable[..., TaskSession], kind: type[BaseModel]) -> None:
    given_values: dict[type[BaseModel], dict[str, Any]] = {
        OfficialSplits: {},
        SampledSplits: {"rule": "sample", "train": 2, "pool": "train"},
        FoldSplits: {"rule": "folds", "count": 2, "train": "train", "test": "test"},
    }
    rule = kind(**given_values[kind])
    # Only the data's task knows the rule that its source may replace: that of a folder is the task's.
    found = session(splits=rule).data.task.model_dump(mode="json")["splits"]
    assert found.keys() == kind.model_fields.keys()


def test_prompts_count_where_they_are_read(session: Callable[..., TaskSession]) -> None:
    spec = session().task.prompt_spec
    other = session(prompt_spec=spec.model_copy(update={"templates": ["another {}."]}))
    texts, images = (PROTOCOLS.get(kind)() for kind in ("zero_shot", "linear_probe"))
    assert session().definition(texts) != other.definition(texts)
    assert session().definition(images) == other.definition(images)


# --- samples


@dataclass(frozen=True)
class Sample:
    """What of one sample of a split decides numbers."""

    identifier: str = "a"
    size: int = 10
    label: int = 0


@dataclass(frozen=True)
class Drawn:
    """A split of a pool, for tests."""

    samples: tuple[Sample, ...] = (Sample("a"), Sample("b", label=1))
    pool: str = "of these files"


def digest_of(session: TaskSession, drawn: Drawn, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the digest of a split."""
    count = len(drawn.samples)
    pool = Pool(
        name="test",
        ids=tuple(sample.identifier for sample in drawn.samples),
        labels=np.array([sample.label for sample in drawn.samples], np.int64),
        read=ArrayReader(np.zeros((count, 1, 1, 3), np.uint8)),
        sizes=np.array([sample.size for sample in drawn.samples], np.int64),
        mtimes=None,
        groups=None,
        fingerprint=drawn.pool,
    )
    monkeypatch.setattr(session, "pool", lambda name: pool)
    return session.split_digest(Split("test", np.arange(count)))


def test_every_part_of_every_sample_is_in_the_digest_of_a_split(
    session: Callable[..., TaskSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, plain = session(), Drawn()
    others = [replace(plain, pool="of other files"), replace(plain, samples=plain.samples[::-1])]
    others += [replace(plain, samples=plain.samples[:1]), replace(plain, samples=(*plain.samples, Sample("c")))]
    for number, sample in enumerate(plain.samples):
        for name, value in {"identifier": "z", "size": 11, "label": 2}.items():
            changed = [*plain.samples]
            changed[number] = replace(sample, **{name: value})
            others.append(replace(plain, samples=tuple(changed)))
    assert {item.name for item in dataclasses.fields(Sample)} == {"identifier", "size", "label"}
    digests = [digest_of(one, drawn, monkeypatch) for drawn in (plain, *others)]
    assert len(set(digests)) == len(digests)
    assert digest_of(one, Drawn(), monkeypatch) == digests[0]


# --- pools


@dataclass(frozen=True)
class Opened:
    """What decides which images a pool holds."""

    task: str = "shapes"
    kind: str = "folder"
    pool: str = "train"
    content: str = "sha256"
    options: Mapping[str, Any] = field(default_factory=lambda: {"path": "."})


class AnySource:
    """A source that says what it is told to."""

    title = "any"

    def __init__(self, opened: Opened) -> None:
        self.opened = opened
        shown = FolderSpec(kind="folder", path=".", pools={opened.pool: "."})
        self.spec = shown.model_copy(update={"kind": opened.kind})

    def state(self) -> DataState:
        return DataState("ready")

    def lists(self) -> dict[str, Any]:
        return {}

    def image_options(self, pool: str) -> Mapping[str, Any]:
        return self.opened.options

    def open(self, pool: str) -> RawPool:
        reader = ArrayReader(np.zeros((1, 1, 1, 3), np.uint8))
        return RawPool(["a"], ["red"], reader, np.array([3]), content=self.opened.content)


@pytest.mark.parametrize("name", [item.name for item in dataclasses.fields(Opened)])
def test_each_part_of_where_a_pool_comes_from_is_in_its_fingerprint(
    session: Callable[..., TaskSession], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fingerprint(opened: Opened) -> str:
        monkeypatch.setattr(opening, "sources_of", lambda task, place: [AnySource(opened)])
        task = session(name=opened.task).task
        return opening.open_task(task, DataPlace(tmp_path, tmp_path)).open_pool(opened.pool).fingerprint

    others: dict[str, Any] = {"options": {"path": "elsewhere"}}
    changed = replace(Opened(), **{name: others.get(name, "other")})
    assert fingerprint(Opened()) == fingerprint(Opened()) != fingerprint(changed)


# --- models


@given(weights=st.text(), other=st.text(), more=st.text(min_size=1))
@settings(deadline=None, max_examples=30)
def test_every_part_of_a_model_is_in_its_fingerprint(weights: str, other: str, more: str) -> None:
    found = model_fingerprint(weights=weights, preprocessing=more)
    assert (model_fingerprint(weights=other, preprocessing=more) == found) == (weights == other)
    assert model_fingerprint(weights=weights) != found != model_fingerprint(weights=weights, layers=more)


def test_another_definition_of_layers_makes_all_features_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    before = model_fingerprint(weights="w")
    monkeypatch.setattr(identity, "LAYER_RULES", identity.LAYER_RULES + 1)
    assert model_fingerprint(weights="w") != before


def test_a_run_key_tells_models_precisions_and_variants_apart(tmp_path: Path) -> None:
    precisions: list[Precision] = ["fp32", "fp16", "bf16"]
    variants = [variant(options) for options in (
        RunOptions(), RunOptions(compile=True), RunOptions(decoder="torchvision"),
        RunOptions(compile=True, decoder="torchvision"),
    )]  # fmt: skip
    keys = []
    for fingerprint in ("one", "two"):
        for precision in precisions:
            for more in variants:
                executor = LocalExecutor([torch.device("cpu")], [precision])
                place = DataPlace(tmp_path, tmp_path / "cache")
                found = ModelSession(CountingModel(fingerprint=fingerprint), place, executor, more).identify()
                keys.append((found.run_key, found.folder))
    assert len({key for key, _ in keys}) == len({folder for _, folder in keys}) == len(keys) == 24
