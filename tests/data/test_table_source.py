"""CSV, TSV and JSONL tables of images and labels."""

from __future__ import annotations

import json
import pickle
import unicodedata

import numpy as np
import pandas
import pytest

from evalsuite.data import IGNORED, data_state, open_task
from evalsuite.data.place import DataPlace
from evalsuite.errors import DataError, DataMissingError

SOURCE = {"kind": "table", "path": "pets", "images": "img", "pools": {"all": "all.csv"}}


@pytest.fixture
def root(tmp_path, encode):
    for number in range(4):
        path = tmp_path / f"pets/img/a/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(number))
    return tmp_path


def write(root, name, text):
    (root / "pets" / name).write_text(text, encoding="utf-8")


def opened(make_task, root, source=None, **task):
    return open_task(make_task({**SOURCE, **(source or {})}, **task), DataPlace(root)).open_pool("all")


def test_a_csv_with_spaces_in_its_header_and_a_byte_order_mark(root, make_task, encode):
    write(root, "all.csv", "\ufeff image , label\na/2.png,dog\n./a/0.png,cat\n")
    pool = opened(make_task, root)
    assert pool.ids == ("a/2.png", "a/0.png")
    assert pool.labels.tolist() == [1, 0]
    assert pool.read(0).content == encode(2)
    assert pickle.loads(pickle.dumps(pool.read))(1).content == encode(0)


def test_text_stays_text(root, make_task):
    # "NA" is a country and "01" a code; pandas would make them a gap and the number 1
    write(root, "all.tsv", "image\tlabel\na/0.png\tNA\na/1.png\t01\n")
    pool = opened(make_task, root, {"pools": {"all": "all.tsv"}}, classes=["01", "NA"])
    assert pool.labels.tolist() == [1, 0]


def test_jsonl_keeps_integers(root, make_task):
    rows = [{"img": "a/0.png", "label": 1}, {"img": "a/1.png", "label": 0}]
    write(root, "all.jsonl", "\n".join(json.dumps(row) for row in rows) + "\n\n")
    source = {"pools": {"all": "all.jsonl"}, "image": "img", "labels": {"by_index": "classes"}}
    assert opened(make_task, root, source).labels.tolist() == [1, 0]


def test_where_picks_rows_and_groups_follow(root, make_task):
    rows = "a/0.png,cat,x,p\na/1.png,dog,y,q\na/2.png,dog, x ,r\na/3.png,dog,xx,s\n"
    write(root, "all.csv", f"image,label,Usage,who\n{rows}")
    source = {"pools": {"all": {"file": "all.csv", "where": {"Usage": "x"}}}, "group": "who"}
    pool = opened(make_task, root, source)
    assert pool.ids == ("a/0.png", "a/2.png")
    assert pool.groups == ("p", "r")
    with pytest.raises(DataError, match="no row with Usage = z"):
        opened(make_task, root, {"pools": {"all": {"file": "all.csv", "where": {"Usage": "z"}}}})


def test_several_labels_in_a_cell(root, make_task):
    write(root, "all.csv", "image,label\na/0.png,cat; dog\na/1.png,\na/2.png,dog;\n")
    pool = opened(make_task, root, {"separator": ";"}, multilabel=True, metric="map_11_point")
    assert pool.labels.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert IGNORED not in pool.labels


def test_pixels_become_grey_images(root, make_task):
    # the layout of FER 2013: codes, usage, values; two columns with a space in front of their name
    lines = ["emotion, Usage, pixels"]
    values = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    for code, usage in ((0, "Training"), (1, "PrivateTest"), (1, "Training")):
        lines.append(f"{code},{usage},{' '.join(str(value + code) for value in values.ravel())}")
    write(root, "fer.csv", "\n".join(lines) + "\n")
    source = {
        "image": None, "pixels": "pixels", "shape": [4, 6], "label": "emotion",
        "pools": {"all": {"file": "fer.csv", "where": {"Usage": "Training"}}},
        "labels": {"by_code": {0: "dog", 1: "cat"}},
    }  # fmt: skip
    pool = opened(make_task, root, source)
    assert pool.ids == ("00000000", "00000002")
    assert pool.labels.tolist() == [1, 0]
    image = pickle.loads(pickle.dumps(pool.read))(1).image
    assert image.mode == "L"
    assert np.array_equal(np.asarray(image), values + 1)
    assert (pool.mtimes, pool.sizes.tolist()) == (None, [24, 24])
    before = pool.fingerprint
    write(root, "fer.csv", "\n".join([*lines, lines[-1]]) + "\n")
    assert opened(make_task, root, source).fingerprint != before


def test_a_table_is_read_once_for_all_pools(root, make_task, monkeypatch):
    write(root, "fer.csv", "label,use,pixels\n" + "".join(f"cat,{use},{n} 2 3 4\n" for n in range(3) for use in "abc"))
    reads = []
    read = pandas.read_csv
    monkeypatch.setattr(
        pandas, "read_csv", lambda *arguments, **options: reads.append(1) or read(*arguments, **options)
    )
    pools = {use: {"file": "fer.csv", "where": {"use": use}} for use in "abc"}
    source = {"image": None, "pixels": "pixels", "shape": [2, 2], "pools": pools}
    data = open_task(make_task({**SOURCE, **source}), DataPlace(root))
    for number, use in enumerate("abc"):
        pool = data.open_pool(use)
        assert pool.ids == tuple(f"{row:08d}" for row in range(number, 9, 3))
        assert np.asarray(pool.read(2).image).tolist() == [[2, 2], [3, 4]]
    assert len(reads) == 1


@pytest.mark.parametrize("cell", ["1 2 3", "1 2 3 256", "1 2 3 -4", "1 2 3 x", ""])
def test_bad_pixels_name_row_and_column(root, make_task, cell):
    write(root, "fer.csv", f"label,pixels\ncat,1 2 3 4\ndog,{cell}\n")
    source = {"image": None, "pixels": "pixels", "shape": [2, 2], "pools": {"all": "fer.csv"}}
    with pytest.raises(DataError, match=r"fer\.csv, row 1, column 'pixels'"):
        opened(make_task, root, source)


@pytest.mark.parametrize("path", ["../secret.png", "a/../../secret.png", "/etc/x.png", "..\\secret.png", "C:/x.png"])
def test_paths_cannot_leave_the_folder(root, make_task, path, encode):
    (root / "pets/secret.png").write_bytes(encode())
    write(root, "all.csv", f"image,label\na/0.png,cat\n{path},dog\n")
    with pytest.raises(DataError, match=r"row 1, column 'image'.*leads out"):
        opened(make_task, root)


def test_missing_columns_and_files_are_named(root, make_task):
    write(root, "all.csv", "images,label\na/0.png,cat\n")
    with pytest.raises(DataError, match=r"no column 'image'\. Did you mean images\?.*images, label"):
        opened(make_task, root)
    write(root, "all.csv", "image,label\na/0.png,cat\na/9.png,dog\n")
    with pytest.raises(DataError, match=r"column 'image': 1 of 2 images.*row 1: 'a/9\.png'"):
        opened(make_task, root)
    assert opened(make_task, root, max_unreadable=1).ids == ("a/0.png",)
    write(root, "all.csv", "image,label\na/0.png,cat\na/1.png,  \n")
    with pytest.raises(DataError, match="row 1, column 'label'"):
        opened(make_task, root)
    write(root, "all.csv", "image,label\na/0.png,cat\na/0.png,dog\n")
    with pytest.raises(DataError, match=r"'a/0\.png' is there more than once"):
        opened(make_task, root)


@pytest.mark.parametrize(("name", "text"), [("all.csv", ""), ("b.jsonl", '{"image": '), ("c.jsonl", "[1]")])
def test_what_is_no_table_is_told(root, make_task, name, text):
    write(root, name, text)
    with pytest.raises(DataError, match="cannot be read as"):
        opened(make_task, root, {"pools": {"all": name}})


def test_states(root, make_task):
    source = {**SOURCE, "pools": {"all": "all.csv", "test": "test.csv"}}
    assert data_state(make_task(source), DataPlace(root)).state == "absent"
    write(root, "all.csv", "image,label\na/0.png,cat\n")
    state = data_state(make_task(source), DataPlace(root))
    assert state.state == "partial"
    assert str(root / "pets/test.csv") in state.missing
    with pytest.raises(DataMissingError, match="in part"):
        open_task(make_task(source), DataPlace(root))
    write(root, "test.csv", "image,label\na/0.png,cat\n")
    assert data_state(make_task(source), DataPlace(root)).state == "ready"


@pytest.mark.parametrize("cells", [[1, 0], [1.0, 0.0], [True, False], ["1", "0"]])
def test_whole_numbers_of_any_type_are_labels(root, make_task, cells):
    rows = [{"image": f"a/{number}.png", "label": cell} for number, cell in enumerate(cells)]
    write(root, "all.jsonl", "\n".join(map(json.dumps, rows)))
    source = {"pools": {"all": "all.jsonl"}, "labels": {"by_index": "classes"}}
    assert opened(make_task, root, source).labels.tolist() == [1, 0]


@pytest.mark.parametrize("cell", [0.5, float("nan"), None, -1, 2, {"a": 1}, "", [0.5]])
def test_what_is_no_label_is_refused(root, make_task, cell):
    write(root, "all.jsonl", json.dumps({"image": "a/0.png", "label": cell}))
    source = {"pools": {"all": "all.jsonl"}, "labels": {"by_index": "classes"}}
    with pytest.raises(DataError, match=r"row 0, column 'label'|has no class"):
        opened(make_task, root, source)


@pytest.mark.parametrize("one", [1, 1.0, True])
def test_vectors_of_0_and_1(root, make_task, one):
    zero = type(one)(0)
    rows = [{"image": f"a/{k}.png", "label": [one if j == k else zero for j in range(3)]} for k in (2, 0)]
    write(root, "all.jsonl", "\n".join(map(json.dumps, rows)))
    source = {"pools": {"all": "all.jsonl"}, "labels": {"by_index": "classes"}}
    pool = opened(make_task, root, source, classes=["a", "b", "c"], multilabel=True, metric="map_11_point")
    assert pool.labels.tolist() == [[0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_of_file_names_may_be_written_apart(root, make_task, forms):
    in_table, on_disk = (unicodedata.normalize(form, "caf\u00e9.png") for form in forms)
    (root / "pets/img/a/0.png").rename(root / "pets/img" / on_disk)
    write(root, "all.csv", f"image,label\n{in_table},cat\n")
    pool = opened(make_task, root)
    assert pool.ids == (on_disk,) and pool.read(0).content


def test_images_that_may_be_missing_are_a_warning(root, make_task):
    write(root, "all.csv", "image,label\na/0.png,cat\na/gone.png,dog\n")
    pool = opened(make_task, root, max_unreadable=1)
    assert len(pool) == 1 and "1 of 2 images are not under" in pool.warnings[0]


def test_columns_of_a_vector_are_called_like_its_classes(root, make_task):
    write(root, "all.csv", "image,c,b,a\na/0.png,1,0,0\na/1.png,0,0,1\n")
    task = {"classes": ["a", "b", "c"], "multilabel": True, "metric": "map_11_point"}
    source = {"label": ["c", "b", "a"], "labels": {"by_index": ["c", "b", "a"]}}
    assert opened(make_task, root, source, **task).labels.tolist() == [[0, 0, 1], [1, 0, 0]]
    with pytest.raises(DataError, match="the data call the label 0 'c', `by_index` calls it 'a'"):
        opened(make_task, root, {**source, "labels": {"by_index": "classes"}}, **task)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("all.csv", "label,image\ncat,dog,a/0.png\ncat,dog,a/1.png\n", "rows have more cells than its header"),
        ("all.csv", "image,label\na/0.png,cat,\n", "rows have more cells than its header"),
        ("all.csv", "image,label,label\na/0.png,cat,dog\n", "several columns 'label'"),
        ("all.csv", "image,label, label \na/0.png,cat,dog\n", "several columns 'label'"),
        ("all.jsonl", '{"image": "a/0.png", "label": "cat", "label": "dog"}', "several values of 'label'"),
    ],
)
def test_a_row_with_two_labels_is_refused(root, make_task, name, text, said):
    write(root, name, text)
    with pytest.raises(DataError, match=said):
        opened(make_task, root, {"pools": {"all": name}})


def test_columns_of_one_name_that_nobody_reads_do_no_harm(root, make_task):
    write(root, "all.csv", "image,x,x,label\na/0.png,1,2,cat\n")
    assert opened(make_task, root).labels.tolist() == [0]


def test_rows_that_are_passed_over_for_their_spelling_are_a_warning(root, make_task):
    rows = ["a/0.png,cat,test", "a/1.png,dog,Test", "a/2.png,dog,", "a/3.png,dog,train"]
    write(root, "all.csv", "\n".join(["image,label,split", *rows]))
    pool = opened(make_task, root, {"pools": {"all": {"file": "all.csv", "where": {"split": "test"}}}})
    assert len(pool) == 1 and "2 rows passed over whose 'split' is 'Test', '', and not 'test'" in pool.warnings[0]
    train = opened(make_task, root, {"pools": {"all": {"file": "all.csv", "where": {"label": "cat"}}}})
    assert train.warnings == ()


def test_where_every_image_has_a_row_one_without_is_an_error(root, make_task, encode):
    write(root, "all.csv", "image,label\na/0.png,cat\na/1.png,dog\na/2.png,dog\na/3.png,cat\n")
    for name in ("a/.4.png", "a/notes.txt", "b/5.png"):  # hidden, no image, in a folder that no row names
        (root / "pets/img" / name).parent.mkdir(exist_ok=True)
        (root / "pets/img" / name).write_bytes(encode(4))
    assert len(opened(make_task, root, {"every_image": True})) == 4
    for name in ("a/7.png", "a/6.JPG"):
        (root / "pets/img" / name).write_bytes(encode(6))
    assert len(opened(make_task, root)) == 4
    with pytest.raises(DataError, match=r"2 images of 6 under .* have no row in .*all\.csv \(a/6\.JPG, a/7\.png\)"):
        opened(make_task, root, {"every_image": True})
