"""The three rules of splits, lists of samples, sizes, and the choice among sources."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import unicodedata

import numpy as np
import pytest

from evalsuite.data import data_state, open_task
from evalsuite.data.base import Pool
from evalsuite.data.place import DataPlace
from evalsuite.data.splits import check_sizes, resolve_folds
from evalsuite.errors import DataError, DataMissingError, SpecError

ALL = {"kind": "folder", "path": "pets", "pools": {"all": "all"}}
SPLIT = {"kind": "folder", "path": "pets", "pools": {"train": "train", "val": "val", "test": "test"}}


@pytest.fixture
def root(tmp_path, encode):
    """Pools all, train, val and test with 10 cats and 6 dogs each."""
    for pool in ("all", "train", "val", "test"):
        for label, count in (("cat", 10), ("dog", 6)):
            for number in range(count):
                path = tmp_path / f"pets/{pool}/{label}/{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode(number))
    return tmp_path


def test_official_splits_are_pools(root, make_task):
    task = make_task(SPLIT, splits={"val": "val"}, sizes={"train": 16, "val": [16], "test": 16})
    (fold,) = open_task(task, DataPlace(root)).folds()
    assert [split.pool for split in (fold.train, fold.val, fold.test)] == ["train", "val", "test"]
    assert fold.train.rows.tolist() == list(range(16))
    check_sizes(task, (fold,))


def test_folds_do_not_open_pools_they_do_not_name(root, make_task):
    for path in (root / "pets/val").rglob("*.png"):
        path.unlink()
    (fold,) = open_task(make_task(SPLIT), DataPlace(root)).folds()
    assert fold.val is None


def test_sampled_splits_are_disjoint_stratified_and_seeded(root, make_task):
    def fold(**rule):
        return open_task(make_task(ALL, splits={"rule": "sample", **rule}), DataPlace(root)).folds()[0]

    drawn = fold(train=0.5, val=2, seed=3)
    labels = open_task(make_task(ALL), DataPlace(root)).open_pool("all").labels
    counts = [
        [int((labels[split.rows] == label).sum()) for label in (0, 1)] for split in (drawn.train, drawn.val, drawn.test)
    ]
    assert counts == [[5, 3], [2, 2], [3, 1]]
    everything = [*drawn.train.rows, *drawn.val.rows, *drawn.test.rows]
    assert sorted(everything) == list(range(16))
    assert fold(train=0.5, val=2, seed=3).test.rows.tolist() == drawn.test.rows.tolist()
    assert fold(train=0.5, val=2, seed=4).test.rows.tolist() != drawn.test.rows.tolist()
    assert len(fold(train="rest", test=4).train) == 8
    without = fold(train=1, test=3)
    assert (len(without.train), without.val, len(without.test)) == (2, None, 6)
    tenths = fold(train=0.7, val=0.2, test=0.1)  # whose sum is rounded to less than 1
    assert sum(len(split) for split in tenths.splits.values()) == 16


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"train": "rest"}, "only one split can be the `rest`"),
        ({"train": 0.8, "test": 0.4}, r"sum to 1 at most; they are \[0\.8, 0\.4\]"),
        ({"train": -0.1, "test": 0.5}, "shares must lie between 0 and 1"),
        ({"train": 1.5, "val": -0.7, "test": "rest"}, "shares must lie between 0 and 1"),
        ({"train": 0, "test": 2}, r"1 or more; they are \[0, 2\]"),
    ],
)
def test_amounts_that_make_no_sense(root, make_task, rule, message):
    with pytest.raises(SpecError, match=message):
        open_task(make_task(ALL, splits={"rule": "sample", **rule}), DataPlace(root)).folds()


def test_samples_with_several_labels_are_drawn_by_shares_alone(make_task):
    several, labels = {"multilabel": True, "metric": "map_11_point"}, np.eye(2, dtype=np.int8)[np.arange(8) % 2]
    pool = Pool("all", tuple("abcdefgh"), labels, None, np.ones(8), None, None, "")

    def fold(**rule):
        task = make_task(ALL, splits={"rule": "sample", **rule}, **several)
        return resolve_folds(task, {"all": pool}.__getitem__, {})[0]

    assert len(fold(train=0.5).train) == 4
    with pytest.raises(SpecError, match="no meaning where a sample has several classes"):
        fold(train=2)


def test_a_sample_larger_than_a_class_names_it(root, make_task):
    with pytest.raises(DataError, match=r"'pets', pool 'all': .*class 'dog', which has 6"):
        open_task(make_task(ALL, splits={"rule": "sample", "train": 7}), DataPlace(root)).folds()


def listed(**more):
    lists = {"train{}": {"file": "train{}.txt", "pool": "all", "count": 2, "first": 1},
             "test{}": {"file": "../lists/test0{}.txt", "pool": "all", "count": 2, "first": 1}}  # fmt: skip
    return {**ALL, "lists": lists, **more}


RULE = {"rule": "folds", "count": 2, "first": 1, "train": "train{}", "test": "test{}"}


@pytest.fixture
def lists(root):
    (root / "lists").mkdir()
    (root / "pets/train1.txt").write_text("cat/3.png 1\n/dog/0.png 2\n\n")
    (root / "pets/train2.txt").write_text("./cat/3.png\tcat\ncat/4.png,cat\n")
    (root / "lists/test01.txt").write_text("cat/0.png\n")
    (root / "lists/test02.txt").write_text("\ufeffdog/5.png\ncat/0.png\n")
    return root


def test_folds_of_listed_paths(lists, make_task):
    data = open_task(make_task(listed(), splits=RULE), DataPlace(lists))
    folds = data.folds()
    ids = data.open_pool("all").ids
    names = [[[ids[row] for row in split.rows] for split in (fold.train, fold.test)] for fold in folds]
    assert names == [
        [["cat/3.png", "dog/0.png"], ["cat/0.png"]],
        [["cat/3.png", "cat/4.png"], ["cat/0.png", "dog/5.png"]],
    ]
    assert data.folds() is folds


@pytest.mark.parametrize("line", ["cat/a b.png", "cat/a b.png 3", "/cat/a b.png\tcat 3", "cat/a b.png,x y"])
def test_names_with_spaces_are_ids_too(root, make_task, encode, line):
    (root / "pets/all/cat/a b.png").write_bytes(encode(1))
    (root / "pets/train.txt").write_text(f"{line}\n")
    (root / "pets/test.txt").write_text("cat/1.png 3\n")
    source = {**ALL, "lists": {name: {"file": f"{name}.txt", "pool": "all"} for name in ("train", "test")}}
    data = open_task(make_task(source), DataPlace(root))
    assert data.open_pool("all").ids[data.folds()[0].train.rows[0]] == "cat/a b.png"


def test_listed_samples_that_are_missing_count(lists, make_task, caplog):
    (lists / "pets/all/dog/0.png").unlink()
    with pytest.raises(DataMissingError, match=r"1 of the 2 samples in the list 'train1'.*'dog/0\.png'"):
        open_task(make_task(listed(), splits=RULE), DataPlace(lists)).folds()
    with caplog.at_level(logging.WARNING):
        folds = open_task(make_task(listed(), splits=RULE, max_unreadable=1), DataPlace(lists)).folds()
    assert len(folds[0].train) == 1
    assert "dog/0.png" in caplog.text


def test_a_split_without_a_sample_is_an_error(lists, make_task):
    (lists / "lists/test02.txt").write_text("\n")
    with pytest.raises(DataMissingError, match="the split 'test' of fold 1 has no sample"):
        open_task(make_task(listed(), splits=RULE), DataPlace(lists)).folds()


def test_sizes_may_be_given_for_each_fold(lists, make_task):
    def check(**sizes):
        task = make_task(listed(), splits=RULE, sizes=sizes)
        check_sizes(task, open_task(task, DataPlace(lists)).folds())

    check(train=2, test=[1, 2])
    with pytest.raises(DataError, match=r"'test' of fold 1 has 2 samples .* exactly 1\. The data is another edition"):
        check(train=[2, 2], test=1)
    with pytest.raises(SpecError, match="lists 1 number for 2 folds"):
        check(train=[2])


def test_overlapping_lists_are_an_error(lists, make_task):
    (lists / "lists/test02.txt").write_text("cat/4.png\n")
    with pytest.raises(DataError, match=r"'train' and 'test' of fold 1 share 1 sample, such as 'cat/4\.png'"):
        open_task(make_task(listed(), splits=RULE), DataPlace(lists)).folds()


def test_a_list_that_repeats_itself_or_is_not_there(lists, make_task):
    (lists / "pets/train1.txt").write_text("cat/3.png\ncat/3.png\n")
    with pytest.raises(DataError, match=r"'cat/3\.png' more than once"):
        open_task(make_task(listed(), splits=RULE), DataPlace(lists)).folds()
    (lists / "pets/train1.txt").unlink()
    with pytest.raises(DataMissingError) as caught:
        open_task(make_task(listed(), splits=RULE), DataPlace(lists)).folds()
    assert str(lists / "pets/train1.txt") in str(caught.value)


def test_a_task_may_bring_its_lists(lists, tmp_path, make_task):
    (lists / "pets/train1.txt").rename(tmp_path / "train1.txt")
    data = open_task(make_task(listed(), splits=RULE, path=tmp_path / "pets.yaml"), DataPlace(lists))
    assert len(data.folds()[0].train) == 2


def test_row_numbers_need_a_source_with_rows(lists, make_task):
    entry = {"file": "train1.txt", "pool": "all", "format": "index_lines"}
    source = {**ALL, "lists": {"train": entry, "test": entry}}
    with pytest.raises(SpecError, match="format: paths"):
        open_task(make_task(source), DataPlace(lists)).folds()


def test_sizes_that_differ_name_split_fold_and_numbers(root, make_task):
    def check(**sizes):
        task = make_task(SPLIT, sizes=sizes)
        check_sizes(task, open_task(task, DataPlace(root)).folds())

    with pytest.raises(DataMissingError, match=r"'train' has 16 samples.*exactly 17\. The data is incomplete"):
        check(train=17)
    with pytest.raises(DataError, match=r"'test' has 16 samples.*exactly 15"):
        check(test=15)
    with pytest.raises(DataMissingError, match="'val' has 0"):
        check(val=3)
    with pytest.raises(SpecError, match="2 numbers for 1 fold"):
        check(test=[16, 16])
    check(train=17, exact=False)


def test_the_first_source_that_is_ready_counts_and_partial_ones_are_mentioned(root, make_task, caplog):
    half = {"kind": "folder", "path": "half", "pools": {"train": "train", "test": "test"}}
    absent = {"kind": "folder", "path": "absent", "pools": {"train": "train", "test": "test"}}
    hub = {"kind": "huggingface", "repo": "org/pets", "pools": {"train": "train", "test": "test"}}
    (root / "half/train/cat").mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        data = open_task(make_task(absent, half, SPLIT), DataPlace(root))
    assert data.open_pool("train").ids[0] == "cat/0.png"
    assert str(root / "half/test") in caplog.text
    # half of the images are there: that is no reason to download others
    with pytest.raises(DataMissingError) as caught:
        open_task(make_task(absent, half, hub), DataPlace(root))
    for part in ("[absent]", "[partial]", "[downloadable]", str(root / "half/test"), str(root / "absent/train")):
        assert part in str(caught.value)
    assert data_state(make_task(absent, half, hub), DataPlace(root)).state == "partial"
    fetched = data_state(make_task(absent, hub, path=root / "pets.yaml"), DataPlace(root))
    assert fetched.state == "downloadable"
    assert f"evalsuite download {root / 'pets.yaml'}" in fetched.missing


@pytest.mark.parametrize("needed", ["devkit/labels.txt", "lists/test1.txt"])
def test_a_source_without_what_it_needs_is_partial(root, make_task, needed):
    source = {**SPLIT, "needs": ["devkit/labels.txt"], "lists": {"one": {"file": "lists/test1.txt", "pool": "test"}}}
    for name in ("devkit/labels.txt", "lists/test1.txt"):
        (root / "pets" / name).parent.mkdir()
        (root / "pets" / name).write_text("")
    assert data_state(make_task(source), DataPlace(root)).state == "ready"
    (root / "pets" / needed).unlink()
    state = data_state(make_task(source), DataPlace(root))
    assert (state.state, state.brief) == ("partial", f"missing: {root / 'pets' / needed}.")
    with pytest.raises(DataMissingError, match=re.escape(needed)):
        open_task(make_task(source), DataPlace(root))


def test_a_source_may_have_splits_sizes_and_a_fidelity_of_its_own(root, make_task):
    drawn = {"rule": "sample", "pool": "all", "train": 2, "test": 1}
    task_lists = {name: {"file": f"{name}.txt", "pool": "all"} for name in ("train", "test")}
    rough = {"level": "approximate", "why": "Drawn."}
    listed = {**ALL, "lists": task_lists}
    other = {**ALL, "splits": drawn, "sizes": {"train": 4}, "split_fidelity": rough}
    task = make_task(listed, other, sizes={"train": 99}, split_fidelity={"level": "exact", "why": "Lists."})
    data = open_task(task, DataPlace(root))
    assert data.task.split_fidelity.level == "approximate"
    (fold,) = data.folds()
    assert (len(fold.train), len(fold.test)) == (4, 2)
    check_sizes(data.task, data.folds())
    with pytest.raises(DataMissingError, match="99"):
        check_sizes(task, data.folds())


def test_a_draw_takes_so_many_samples_whatever_their_order(root, make_task):
    def rows(**draw):
        (fold,) = open_task(make_task(SPLIT, splits={"draw": draw}), DataPlace(root)).folds()
        return fold.train.rows.tolist(), fold.test.rows.tolist()

    train, test = rows()
    assert (train, test) == (list(range(len(train))), list(range(len(test))))
    few, all_of_test = rows(train=5)
    assert len(few) == 5 == len(set(few)) and few == sorted(few) and all_of_test == test
    assert rows(train=5)[0] == few != rows(train=5, seed=1)[0]
    assert set(rows(train=4)[0]) < set(few)  # the same shuffle, cut earlier
    assert rows(test=16)[1] == test and rows(test=3)[0] == train and len(rows(test=3)[1]) == 3
    with pytest.raises(DataMissingError, match="17 samples of 'train', which has 16"):
        rows(train=17)
    (fold,) = open_task(make_task(SPLIT, splits={"draw": {"train": 5, "test": 3}}), DataPlace(root)).folds(
        test_only=True
    )
    assert (len(fold.train), len(fold.test)) == (0, 3)


def test_a_list_may_have_a_header_and_stand_for_what_it_does_not_name(root, make_task):
    ids = open_task(make_task(ALL), DataPlace(root)).open_pool("all").ids
    (root / "test_images.txt").write_text("path\n" + "\n".join(ids[::3]) + "\n")
    test = {"file": "../test_images.txt", "pool": "all", "header": True}
    source = {**ALL, "lists": {"test": test, "train": {**test, "complement": True}}}
    data = open_task(make_task(source), DataPlace(root))
    (fold,) = data.folds()
    assert [ids[row] for row in fold.test.rows] == list(ids[::3])
    assert sorted([*fold.train.rows, *fold.test.rows]) == list(range(len(ids)))
    without = {name: {**entry, "header": False} for name, entry in source["lists"].items()}
    with pytest.raises(DataMissingError, match="'path'"):
        open_task(make_task({**source, "lists": without}), DataPlace(root)).folds()


def with_complement(max_missing=None, **more):
    """Return a source whose test split is a list, and whose training split is what that does not name."""
    test = {"file": "../test_images.txt", "pool": "all", "header": True, "max_missing": max_missing}
    return {**ALL, "lists": {"test": test, "train": {**test, "complement": True}}, **more}


@pytest.mark.parametrize("bound", [None, 0.5])
def test_names_that_match_no_file_are_not_silently_trained_on(root, make_task, bound):
    names = [f"cat/{number}.png" for number in (0, 1)] + [f"cat/renamed_{number}.png" for number in range(8)]
    (root / "test_images.txt").write_text("\n".join(["path", *names]))
    with pytest.raises(DataMissingError, match=r"8 of the 10 samples.*max_missing"):
        open_task(make_task(with_complement(bound), max_unreadable=1000), DataPlace(root)).folds()


def test_a_bounded_share_of_a_list_may_be_gone(root, make_task, caplog):
    (root / "test_images.txt").write_text("path\ncat/0.png\ncat/1.png\ndog/0.png\ncat/gone.png\n")
    with caplog.at_level(logging.WARNING):
        (fold,) = open_task(make_task(with_complement(0.25)), DataPlace(root)).folds()
    assert (len(fold.train), len(fold.test)) == (13, 3)
    assert "1 of the 4 samples" in caplog.text
    with pytest.raises(DataMissingError, match=r"1 of the 4 samples"):
        open_task(make_task(with_complement(0.2)), DataPlace(root)).folds()


@pytest.mark.parametrize("first", ["cat/0.png", "cat/gone.png"])
def test_a_first_line_that_is_a_sample_is_no_header(root, make_task, first):
    (root / "test_images.txt").write_text(f"{first}\ncat/1.png\ndog/1.png\n")
    (fold,) = open_task(make_task(with_complement(0.4)), DataPlace(root)).folds()
    assert len(fold.test) == (3 if first == "cat/0.png" else 2)
    if first == "cat/gone.png":
        with pytest.raises(DataMissingError, match=r"cat/gone\.png"):
            open_task(make_task(with_complement()), DataPlace(root)).folds()


def test_folders_that_are_accepted_by_name_match_in_lists(root, make_task):
    (root / "pets/all/cat").rename(root / "pets/all/C-a't")
    (root / "test_images.txt").write_text("path\nCat/0.png\ncat/1.PNG\ndog/1.png\n")
    (fold,) = open_task(make_task(with_complement(labels="by_name")), DataPlace(root)).folds()
    assert (len(fold.train), len(fold.test)) == (13, 3)
    (root / "pets/all/CAT").mkdir()
    (root / "pets/all/CAT/0.png").write_bytes((root / "pets/all/dog/0.png").read_bytes())
    with pytest.raises(DataMissingError, match=r"'Cat/0\.png'"):  # which of the two is not known
        open_task(make_task(with_complement(labels="by_name")), DataPlace(root)).folds()


def test_accents_in_lists_may_be_written_apart(root, make_task):
    listed_name, name = (unicodedata.normalize(form, "\u00e9.png") for form in ("NFC", "NFD"))
    (root / "pets/all/cat/0.png").rename(root / "pets/all/cat" / name)
    (root / "pets/one.txt").write_text(f"cat/{listed_name}\n", encoding="utf-8")
    source = {**ALL, "lists": {"one": {"file": "one.txt", "pool": "all"}}}
    task = make_task(source, splits={"train": "all", "test": "one"})
    (fold,) = open_task(task, DataPlace(root)).folds(test_only=True)
    assert len(fold.test) == 1


def test_lists_next_to_a_folder_that_is_a_link_are_found_and_others_are_not(root, make_task):
    other = root / "other disk"
    other.mkdir()
    (root / "pets").rename(other / "pets")
    (root / "pets").symlink_to(other / "pets")
    (root / "test_images.txt").write_text("path\ncat/0.png\n")
    (other / "test_images.txt").write_text("path\ncat/1.png\ncat/2.png\n")
    (fold,) = open_task(make_task(with_complement()), DataPlace(root)).folds()
    assert fold.test.rows.tolist() == [0]


def test_without_any_source_all_are_told(tmp_path, make_task, no_network):
    torchvision = {
        "kind": "torchvision", "dataset": "CIFAR10", "path": "cifar-10-batches-py",
        "files": [{"url": "https://example.org/cifar.tar.gz"}],
        "pools": {"train": {"train": True}, "test": {"train": False}},
    }  # fmt: skip
    hub = {"kind": "huggingface", "repo": "org/pets", "pools": {"train": "train", "test": "test"}, "note": "Two words."}
    shards = {"kind": "webdataset", "path": "wds", "pools": {"test": "test/*.tar"}, "url": "https://example.org/x"}
    task = make_task(torchvision, hub, shards, homepage="https://example.org")
    with pytest.raises(DataMissingError) as caught:
        open_task(task, DataPlace(tmp_path, offline=True))
    for part in (
        str(tmp_path / "cifar-10-batches-py"),
        "evalsuite download pets",
        f"hf download --repo-type dataset org/pets --local-dir {tmp_path / 'pets'}",
        "train-*.parquet",
        str(tmp_path / "wds/test/*.tar"),
        "https://example.org/x",
        "Two words.",
        "Homepage of the dataset: https://example.org",
    ):
        assert part in str(caught.value)
    assert data_state(task, DataPlace(tmp_path, offline=True)).state == "absent"


def test_importing_the_package_is_light():
    code = (
        "import sys, evalsuite.data\n"
        "heavy = {'torch', 'torchvision', 'datasets', 'pyarrow', 'sklearn', 'pandas', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import evalsuite.data.opening, evalsuite.data.sources.torchvision, evalsuite.data.sources.huggingface\n"
        "import evalsuite.data.sources.table, evalsuite.data.sources.webdataset, evalsuite.data.sources.python\n"
        "heavy = {'torch', 'torchvision', 'datasets', 'pyarrow', 'sklearn', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("leak", ["one folder", "a link", "a hard link"])
def test_pools_that_share_files_are_an_error(root, make_task, leak):
    source = {**SPLIT, "pools": {"train": "train", "val": "val", "test": "train" if leak == "one folder" else "test"}}
    if leak == "a link":
        (root / "pets/test/cat/linked.png").symlink_to(root / "pets/train/cat/3.png")
    elif leak == "a hard link":
        (root / "pets/test/cat/linked.png").hardlink_to(root / "pets/train/cat/3.png")
    data = open_task(make_task(source), DataPlace(root))
    with pytest.raises(DataError, match=r"splits 'train' and 'test' share (1|16) samples?, such as 'cat/"):
        data.folds()


def test_pools_that_share_rows_of_a_table_are_an_error(root, make_task):
    text = "".join(f"{number % 2},{number} {number},{'test' if number % 3 else 'train'}\n" for number in range(12))
    (root / "pets/all.csv").write_text("label,pixels,use\n" + text)
    table = {"kind": "table", "path": "pets", "pixels": "pixels", "shape": [1, 2], "labels": {"by_index": "classes"}}
    parts = {name: {"file": "all.csv", "where": {"use": name}} for name in ("train", "test")}
    (fold,) = open_task(make_task({**table, "pools": parts}), DataPlace(root)).folds()
    assert (len(fold.train), len(fold.test)) == (4, 8)
    twice = {**table, "pools": {"train": "all.csv", "test": "all.csv"}}
    with pytest.raises(DataError, match="share 12 samples"):
        open_task(make_task(twice), DataPlace(root)).folds()
    overlapping = {**parts, "train": {"file": "all.csv", "where": {"label": "0"}}}
    with pytest.raises(DataError, match="share 4 samples"):
        open_task(make_task({**table, "pools": overlapping}), DataPlace(root)).folds()


def test_rows_are_shared_where_they_are_of_the_same_files(make_task):
    def pool(name, ids, rows_of):
        return Pool(name, ids, np.arange(len(ids)) % 2, None, np.ones(len(ids)), None, None, name, rows_of=rows_of)

    pools = {"train": pool("train", ("0", "1", "2", "5"), "a"), "test": pool("test", ("3", "5", "2", "4"), "a")}
    with pytest.raises(DataError, match="share 2 samples, such as '2'"):
        resolve_folds(make_task(SPLIT), pools.__getitem__, {})
    pools["test"] = pool("test", pools["test"].ids, "b")
    resolve_folds(make_task(SPLIT), pools.__getitem__, {})


@pytest.mark.parametrize(
    ("states", "mtimes", "shared"),
    [
        ([[7, 1], [8, 1]], [5, 5], 2),
        ([[7, 1], [9, 1]], [5, 5], 1),
        ([[7, 2], [8, 1]], [5, 5], 1),
        ([[7, 1], [8, 1]], [5, 6], 1),
        ([[0, 1], [0, 2]], [5, 5], 0),
        (None, [5, 5], 0),
        ([[7, 1], [8, 1]], None, 0),
    ],
    ids=[
        "same files",
        "another file",
        "another ctime",
        "another mtime",
        "no numbers of files",
        "no states",
        "no times",
    ],
)
def test_a_file_in_two_splits_is_known_by_all_that_the_file_system_says(make_task, states, mtimes, shared):
    known = [[0, 1], [0, 2]] if states == [[0, 1], [0, 2]] else [[7, 1], [8, 1]]
    pools = {"train": pool_of_files("train", states, mtimes), "test": pool_of_files("test", known, [5, 5])}
    if shared == 0:
        resolve_folds(make_task(SPLIT), pools.__getitem__, {})
    else:
        counted = "1 sample" if shared == 1 else "2 samples"
        with pytest.raises(DataError, match=f"'train' and 'test' share {counted}, such as 'train/"):
            resolve_folds(make_task(SPLIT), pools.__getitem__, {})


def pool_of_files(name, states, mtimes, sizes=None):
    """Return a pool of which only what the file system says of its files is known."""
    states, mtimes = (None if numbers is None else np.array(numbers, np.int64) for numbers in (states, mtimes))
    sizes = np.array(sizes or [3, 3])
    ids = tuple(f"{name}/{letter}" for letter in "abcdefghijkl"[: len(sizes)])
    return Pool(name, ids, np.arange(len(ids)) % 2, None, sizes, mtimes, None, name, states)


def test_of_files_in_two_splits_the_first_is_named(make_task):
    numbers = np.random.default_rng(0).permutation(12) + 1
    states, mtimes, sizes = [[number, number] for number in numbers.tolist()], [5] * 12, [3] * 12
    pools = {
        "train": pool_of_files("train", states, mtimes, sizes),
        "test": pool_of_files("test", states, mtimes, sizes),
    }
    with pytest.raises(DataError, match="share 12 samples, such as 'train/a'"):
        resolve_folds(make_task(SPLIT), pools.__getitem__, {})
    pools["test"] = pool_of_files("test", states, mtimes, [4] * 12)
    resolve_folds(make_task(SPLIT), pools.__getitem__, {})
