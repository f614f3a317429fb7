"""Raw labels to class indices."""

from __future__ import annotations

import numpy as np
import pytest

from evalsuite.data import IGNORED, MultiLabel
from evalsuite.data.base import RawPool
from evalsuite.data.labels import check_names, check_sets, map_labels, wants_names, with_class
from evalsuite.errors import DataError, SpecError
from evalsuite.tasks.label_maps import ByCode, ByIndex

SOURCE = {"kind": "folder", "path": "x", "pools": {"train": "t"}}
KEYS = ["dog", "cat", "bird"]


def ids(count):
    return [f"s{row}" for row in range(count)]


def mapped(task, labels, raw):
    return map_labels(task, "folder x", labels, raw, ids(len(raw)))


def test_by_key_follows_the_class_list_not_the_alphabet(make_task):
    labels = mapped(make_task(SOURCE, classes=KEYS), "by_key", ["bird", "dog", "cat", "dog"])
    assert labels.tolist() == [2, 0, 1, 0]
    assert labels.dtype == np.int64


def test_by_index_has_the_sources_own_order(make_task):
    labels = mapped(
        make_task(SOURCE, classes=KEYS), ByIndex(by_index=["bird", "cat", "dog"]), [0, 1, 2, "2", "00", "1.0", " 2 "]
    )
    assert labels.tolist() == [2, 1, 0, 0, 2, 1, 0]


def test_by_index_classes_is_the_identity(make_task):
    assert mapped(make_task(SOURCE, classes=KEYS), ByIndex(by_index="classes"), [2, 0]).tolist() == [2, 0]


def test_by_code_may_map_two_codes_to_a_class(make_task):
    labels = ByCode(by_code={"7": "dog", "n02": "cat", "n03": "bird", "9": "dog"})
    assert mapped(make_task(SOURCE, classes=KEYS), labels, [7, "n02", "9", "n03"]).tolist() == [0, 1, 0, 2]


def test_integers_need_an_order_unless_the_keys_are_digits(make_task):
    with pytest.raises(DataError, match="by_index"):
        mapped(make_task(SOURCE, classes=KEYS), "by_key", [0, 1])
    assert mapped(make_task(SOURCE, classes=["10", "3"]), "by_key", [3, 10, "3"]).tolist() == [1, 0, 1]


def test_by_name_knows_keys_and_names_in_any_spelling(make_task):
    classes = [{"key": "jail_cell", "names": ["jail cell"]}, {"key": "f16", "names": ["F-16A/B", "falcon"]}, "dog"]
    task = make_task(SOURCE, classes=classes)
    raw = ["jail/cell", "f-16ab", "F16", "Falcon", "DOG", "Jail-Cell"]
    assert mapped(task, "by_name", raw).tolist() == [0, 1, 1, 1, 2, 0]
    with pytest.raises(DataError, match=r"'cat' of the sample 's0'.*none of the .* class names"):
        mapped(task, "by_name", ["cat"])
    assert wants_names("by_name", ["x"])


def test_by_name_refuses_a_name_of_two_classes(make_task):
    classes = [{"key": "n1", "names": ["missile"]}, {"key": "n2", "names": ["Missile"]}]
    with pytest.raises(SpecError, match="'n1' and 'n2' apart: 'Missile'"):
        mapped(make_task(SOURCE, classes=classes), "by_name", ["missile"])


def test_an_unmapped_label_is_named_with_its_sample_and_the_nearest_keys(make_task):
    with pytest.raises(DataError) as caught:
        mapped(make_task(SOURCE, classes=KEYS), "by_key", ["dog", "brid"])
    for part in ("'pets'", "folder x", "'brid'", "'s1'", "none of the 3 class keys. Nearest: bird."):
        assert part in str(caught.value)


def test_a_number_that_is_no_code_is_told_among_the_codes(make_task):
    labels = ByCode(by_code={"10": "dog", "20": "cat", "30": "bird"})
    with pytest.raises(DataError, match=r"label 5 .*none of the 3 codes\. Known: '10', '20', '30'\.") as caught:
        mapped(make_task(SOURCE, classes=KEYS), labels, [10, 5])
    assert "by_index" not in str(caught.value)
    with pytest.raises(DataError, match="none of the 3 codes"):
        mapped(make_task(SOURCE, classes=KEYS), labels, ["010"])  # only where numbers are meant, they are read as such


@pytest.mark.parametrize("raw", [[3], [-1], ["x"], ["-1"]])
def test_an_index_out_of_range_is_an_error(make_task, raw):
    with pytest.raises(DataError, match="from 0 to 2"):
        mapped(make_task(SOURCE, classes=KEYS), ByIndex(by_index="classes"), raw)


@pytest.mark.parametrize(
    "labels",
    [
        ByIndex(by_index=["dog", "cat"]),
        ByIndex(by_index=["dog", "cat", "birb"]),
        ByIndex(by_index=["dog", "cat", "bird", "dog"]),
        ByCode(by_code={"0": "dog", "1": "cat"}),
        ByCode(by_code={"0": "dog", "1": "cat", "2": "bird", "3": "fish"}),
    ],
)
def test_a_map_that_does_not_fit_the_classes_is_an_error(make_task, labels):
    with pytest.raises(SpecError):
        mapped(make_task(SOURCE, classes=KEYS), labels, [])


def test_multilabel_matrix_has_present_absent_and_ignored(make_task):
    task = make_task(SOURCE, classes=KEYS, multilabel=True, metric="map_11_point")
    raw = [MultiLabel(("dog", "bird")), MultiLabel((), ("cat",)), MultiLabel(("cat",), ("cat", "dog")), "bird"]
    labels = mapped(task, "by_key", raw)
    assert labels.dtype == np.int8
    assert labels.tolist() == [[1, 0, 1], [0, IGNORED, 0], [IGNORED, 1, 0], [0, 0, 1]]


def test_several_labels_in_a_single_label_task_are_an_error(make_task):
    with pytest.raises(DataError, match="multilabel: true"):
        mapped(make_task(SOURCE, classes=KEYS), "by_key", [MultiLabel(("dog", "cat"))])


def test_sources_with_names_and_integers_give_what_the_map_speaks_of():
    names = ["airplane", "bird"]
    assert wants_names("by_key", names)
    assert wants_names(ByCode(by_code={"airplane": "plane"}), names)
    assert not wants_names(ByCode(by_code={"0": "plane"}), names)
    assert not wants_names(ByIndex(by_index="classes"), names)


SEVERAL = {"multilabel": True, "metric": "map_11_point"}
VECTORS = [("0", "1", "1"), ("1", "0", "0"), ("0", "0", "0")]


def several(*labels):
    return [MultiLabel(tuple(label)) for label in labels]


def test_a_vector_of_0_and_1_has_a_place_for_each_class(make_task):
    task = make_task(SOURCE, classes=KEYS, **SEVERAL)
    order = ByIndex(by_index=["bird", "cat", "dog"])
    assert mapped(task, order, several(*VECTORS)).tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    "labels",
    [
        [("0", "1"), ("1",)],
        [("0", "1"), ("0", "1")],
        [("1", "0"), ("2", "0")],
        [("0", "1", "2"), ("1",), ()],
        [("0", "1", "2"), ("0", "2", "1")],
        [("1", "0", "1"), ("1",)],
        [],
    ],
)
def test_numbers_of_classes_stay_numbers(make_task, labels):
    task = make_task(SOURCE, classes=KEYS, **SEVERAL)
    found = mapped(task, ByIndex(by_index="classes"), several(*labels))
    assert found.shape == (len(labels), 3)
    assert found.tolist() == [[int(str(k) in label) for k in range(3)] for label in labels]


def test_labels_next_to_ignored_ones_are_no_vectors(make_task):
    task = make_task(SOURCE, classes=KEYS, **SEVERAL)
    raw = [MultiLabel(label, ("2",)) for label in VECTORS]
    assert mapped(task, ByIndex(by_index="classes"), raw)[:, 2].tolist() == [IGNORED] * 3


def test_any_of_several_labels_is_right_where_the_metric_says_so(make_task):
    task = make_task(SOURCE, classes=KEYS, metric="any_label_accuracy")
    assert mapped(task, "by_key", ["bird", MultiLabel(("dog", "bird"))]).tolist() == [[0, 0, 1], [1, 0, 1]]
    assert mapped(task, "by_key", ["bird", "dog"]).tolist() == [2, 0]


@pytest.mark.parametrize(
    ("classes", "rule", "labels"),
    [
        (KEYS, ByIndex(by_index="classes"), [("0", "1", "1", "0"), ("1", "0", "0", "0")]),
        (["dog", "cat"], ByIndex(by_index="classes"), [("0", "1"), ("1", "0")]),
        (["0", "1", "2"], "by_key", VECTORS),
        (KEYS, ByCode(by_code={"0": "dog", "1": "cat", "2": "bird"}), VECTORS),
    ],
)
def test_vectors_that_may_be_numbers_are_refused(make_task, classes, rule, labels):
    with pytest.raises(DataError, match="all of them 0 or 1"):
        mapped(make_task(SOURCE, classes=classes, **SEVERAL), rule, several(*labels))


@pytest.mark.parametrize("form", ["1.0 0.0", "01 00", "1.0 0"])
def test_vectors_may_be_written_in_other_ways(make_task, form):
    one, zero = form.split()
    vectors = [[one if part == "1" else zero for part in vector] for vector in VECTORS]
    task, order = make_task(SOURCE, classes=KEYS, **SEVERAL), ByIndex(by_index="classes")
    assert mapped(task, order, several(*vectors)).tolist() == mapped(task, order, several(*VECTORS)).tolist()


@pytest.mark.parametrize(
    "labels",
    [
        [("2", "1", "1"), ("1", "2", "1")],
        [("0", "2", "0"), ("2", "0", "0")],
        [("0", "1", "2"), ("0", "0", "1")],
        [("2", "1", "1", "1"), ("1", "2", "1", "1")],
        [("0", "0", "1"), ()],
    ],
)
def test_vectors_of_other_values_are_no_numbers_of_classes(make_task, labels):
    with pytest.raises(DataError, match="has a label twice"):
        mapped(make_task(SOURCE, classes=KEYS, **SEVERAL), ByIndex(by_index="classes"), several(*labels))


@pytest.mark.parametrize("rule", ["by_key", "by_name", ByCode(by_code={"caf\u00e9": "caf\u00e9", "2": "o\u0308l"})])
def test_accents_may_be_written_apart(make_task, rule):
    task = make_task(SOURCE, classes=["cafe\u0301", "\u00f6l"])
    raw = ["caf\u00e9", "cafe\u0301", "2" if isinstance(rule, ByCode) else "o\u0308l"]
    assert mapped(task, rule, raw).tolist() == [0, 0, 1]


def test_names_that_the_data_carry_are_held_against_the_order(make_task):
    task, order = make_task(SOURCE, classes=KEYS), ByIndex(by_index=["bird", "cat", "dog"])
    for labels in (order, "by_key", "by_name", ByCode(by_code={"0": "bird", "1": "cat", "2": "dog"})):
        check_names(task, "folder x", labels, ["Bird", "cat", "somebody's"])  # which says nothing
        check_names(task, "folder x", labels, [])
    with pytest.raises(DataError, match=r"label 1 'dog', `by_index` calls it 'cat' \(2 labels of 3 differ"):
        check_names(task, "folder x", order, ["bird", "dog", "cat"])
    with pytest.raises(DataError, match="label 0 'bird', `by_index` calls it 'dog'"):
        check_names(task, "folder x", ByIndex(by_index="classes"), ["bird", "cat", "dog"])
    with pytest.raises(DataError, match="label 0 'bird', `by_code` calls it 'dog'"):
        check_names(task, "folder x", ByCode(by_code={"0": "dog", "1": "cat", "2": "bird"}), ["bird", "cat", "dog"])
    check_names(task, "folder x", "by_key", ["bird", "cat", "dog"])


def test_samples_of_other_labels_are_left_out(make_task):
    task = make_task(SOURCE, classes=KEYS)

    def left(*labels):
        raw = RawPool(ids(len(labels)), labels, lambda row: None, np.arange(len(labels)))
        return with_class(task, "folder x", "by_key", raw)

    found = left("dog", "fish", MultiLabel(("fish",)), "cat", "fish")
    assert list(found.ids) == ["s0", "s2", "s3"] and found.sizes.tolist() == [0, 2, 3]  # sets are not looked into
    assert len(left().ids) == 0
    with pytest.raises(
        DataError, match="'pets', source folder x: no sample has a label that is a class, such as 'cow'"
    ):
        left("cow", "fish")


def test_a_sample_has_one_label_of_each_set(make_task):
    bias = {"sets": {"sex": ["f", "m"], "age": ["old", "young"]}, "people": ["p"], "categories": {"crime": ["thief"]}}
    task = make_task(SOURCE, classes=["f", "old", "m", "young"], **SEVERAL, bias=bias)
    right = [[1, 1, 0, 0], [0, 0, 1, 1]]
    check_sets(task, "here", np.array(right), ids(2))
    for wrong, message in (([1, 0, 0, 0], "'s2' has no label of the set 'age'"),
                           ([1, 1, 1, 0], "'s2' has more than one label of the set 'sex'")):  # fmt: skip
        with pytest.raises(DataError, match=f"^here: the sample {message}"):
            check_sets(task, "here", np.array([*right, wrong, wrong]), ids(4))
    check_sets(task, "here", np.zeros(3, np.int64), ids(3))  # one label each: sets are of those that have several
    check_sets(make_task(SOURCE, classes=KEYS, **SEVERAL), "here", np.zeros((3, 3), np.int8), ids(3))
