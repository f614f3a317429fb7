"""Adapters: trusted, untrusted and broken ones; the shipped one for the digits."""

from __future__ import annotations

import pickle
import sys
import textwrap

import numpy as np
import pytest

from evalsuite import resources
from evalsuite.data import data_state, open_task, raw_pool_from_arrays
from evalsuite.data.place import DataPlace
from evalsuite.errors import DataError, DataMissingError, SpecError, UsageError

SOURCE = {"kind": "python", "file": "pets.py", "pools": ["all"]}

ADAPTER = """
    from __future__ import annotations
    from dataclasses import dataclass
    import numpy as np
    from evalsuite.data import LoadedSample, MultiLabel, RawPool, raw_pool_from_arrays

    @dataclass(frozen=True)
    class Reader:
        raw: object
        def __call__(self, row: int) -> LoadedSample:
            if row == 1:
                raise KeyError("lost")
            return self.raw.read(row)

    def open_pool(root, pool):
        raw = raw_pool_from_arrays([np.full((4, 4), 7, np.uint8), np.zeros((4, 4, 3), np.uint8)], ["cat", "dog"])
        return RawPool(raw.ids, raw.labels, Reader(raw), raw.sizes, content=raw.content, groups=[str(root), pool])
"""


@pytest.fixture
def adapter(tmp_path, make_task):
    """Write an adapter and return its task."""

    def build(code=ADAPTER, **source):
        (tmp_path / "pets.py").write_text(textwrap.dedent(code))
        return make_task({**SOURCE, **source}, path=tmp_path / "pets.yaml")

    return build


def test_a_trusted_adapter_runs(adapter, tmp_path):
    pool = open_task(adapter(), DataPlace(tmp_path, trust_adapters=True)).open_pool("all")
    assert pool.ids == ("00000000", "00000001")
    assert pool.labels.tolist() == [0, 1]
    assert pool.groups == (str(tmp_path), "all")
    assert np.asarray(pool.read(0).image).tolist() == [[7] * 4] * 4
    assert pool.read(0).content == b"L:4x4:" + bytes([7] * 16)


def test_readers_of_classes_nobody_can_import_survive_pickling(adapter):
    read = open_task(adapter(), DataPlace(trust_adapters=True)).open_pool("all").read
    content = pickle.dumps(read)
    for name in [name for name in sys.modules if name.startswith("_evalsuite_adapter_")]:
        del sys.modules[name]  # as in a worker process
    assert pickle.loads(content)(0).image.size == (4, 4)


def test_an_untrusted_adapter_does_not_run(adapter, tmp_path):
    task = adapter(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    with pytest.raises(UsageError, match="--trust-adapters"):
        open_task(task, DataPlace(tmp_path))
    assert "--trust-adapters" in data_state(task, DataPlace(tmp_path)).missing
    assert not (tmp_path / "ran").exists()


def test_trust_does_not_reach_out_of_the_tasks_folder(tmp_path, make_task):
    (tmp_path / "evil.py").write_text("raise SystemExit")
    own = resources.data_dir("tasks")
    source = {**SOURCE, "file": "../" * 20 + str(tmp_path / "evil.py").lstrip("/")}
    with pytest.raises(UsageError, match="--trust-adapters"):
        open_task(make_task(source, path=own / "digits.yaml"), DataPlace())
    with pytest.raises(UsageError, match="--trust-adapters"):
        open_task(make_task({**SOURCE, "file": str(own / "digits.py")}, path=tmp_path / "x.yaml"), DataPlace())


@pytest.mark.parametrize(
    ("code", "error", "reason"),
    [
        ("import nothing_of_that_name", DataError, r"pets\.py cannot be imported: ModuleNotFoundError"),
        ("def open_pool(root, pool): return 1 / 0", DataError, r"pets\.py failed on the pool 'all': ZeroDivision"),
        ("def open_pool(root, pool): return 3", DataError, "returned int"),
        ("x = 1", SpecError, "no function 'open_pool'"),
        ("def open_pool(", DataError, r"pets\.py cannot be imported: SyntaxError"),
    ],
)
def test_broken_adapters_are_named(adapter, code, error, reason):
    with pytest.raises(error, match=reason):
        open_task(adapter(code), DataPlace(trust_adapters=True)).open_pool("all")


def test_errors_while_reading_name_adapter_and_sample(adapter):
    pool = open_task(adapter(), DataPlace(trust_adapters=True)).open_pool("all")
    with pytest.raises(DataError, match=r"pets\.py cannot read the sample '00000001'.*KeyError"):
        pool.read(1)


def test_lengths_that_differ_are_found(adapter):
    code = ADAPTER.replace("raw.labels, Reader", "raw.labels[:1], Reader")
    with pytest.raises(DataError, match="2 ids but 1 labels"):
        open_task(adapter(code), DataPlace(trust_adapters=True)).open_pool("all")


def test_a_changed_adapter_is_another_pool(adapter):
    first = open_task(adapter(), DataPlace(trust_adapters=True)).open_pool("all").fingerprint
    assert open_task(adapter(), DataPlace(trust_adapters=True)).open_pool("all").fingerprint == first
    changed = adapter(ADAPTER.replace("7, np.uint8", "8, np.uint8"))
    assert open_task(changed, DataPlace(trust_adapters=True)).open_pool("all").fingerprint != first


def test_what_the_adapter_reads_must_be_there(adapter, tmp_path):
    task = adapter(path="devkit/x")
    with pytest.raises(DataMissingError, match="devkit/x"):
        open_task(task, DataPlace(tmp_path, trust_adapters=True))
    (tmp_path / "devkit/x").mkdir(parents=True)
    assert open_task(task, DataPlace(tmp_path, trust_adapters=True)).open_pool("all").groups == (
        str(tmp_path),
        "all",
    )


def test_a_missing_adapter_is_named(make_task, tmp_path):
    with pytest.raises(DataMissingError, match=r"pets\.py is missing"):
        open_task(make_task(SOURCE, path=tmp_path / "pets.yaml"), DataPlace(trust_adapters=True))


def test_arrays_must_be_images():
    with pytest.raises(DataError, match="float64"):
        raw_pool_from_arrays([np.zeros((2, 2))], [0])
    with pytest.raises(DataError, match=r"\(2, 2, 4\)"):
        raw_pool_from_arrays([np.zeros((2, 2, 4), np.uint8)], [0])


def test_the_digits_need_nothing(make_task, no_network):
    from sklearn.datasets import load_digits

    task = make_task(
        {"kind": "python", "file": "digits.py", "pools": ["train", "test"]},
        classes=[str(digit) for digit in range(10)],
        path=resources.data_dir("tasks") / "digits.yaml",
        sizes={"train": 898, "test": 899},
    )
    data = open_task(task, DataPlace())
    train, test = data.open_pool("train"), data.open_pool("test")
    digits = load_digits()
    assert (train.ids[0], train.ids[-1], test.ids[0], test.ids[-1]) == ("00000000", "00000897", "00000898", "00001796")
    assert np.array_equal(np.concatenate([train.labels, test.labels]), digits.target)
    pixels = np.asarray(test.read(5).image)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, np.round(digits.images[903] * 255 / 16))
