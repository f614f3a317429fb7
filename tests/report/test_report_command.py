"""`evalsuite report` as a person types it, and the page it writes."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from evalsuite.data.place import DataPlace
from evalsuite.report.html.page import TOO_LARGE, report_page
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.results.numbers import Numbers
from evalsuite.results.store import load_stored
from tests.datasets import write_folder_task
from tests.processes import WarmCli
from tests.report.conftest import Bench

STYLE = Path(__file__).parents[2] / "evalsuite/report/html/templates/style.css"
DIGITS = (
    "run",
    "-m",
    "pocket,pixels",
    "-t",
    "digits",
    "--limit",
    "60",
    "--log-samples",
    "-o",
    "out",
    "--cache-dir",
    "c",
)


class Page(HTMLParser):
    """The tags of a page and the text that a reader sees."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.kinds: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        self.kinds.append(self.tags[-1][0] if self.tags else "")

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def written(cli: WarmCli, tmp_path: Path, *arguments: str | Path) -> Page:
    target = tmp_path / "page.html"
    finished = cli("report", "--to", target, *arguments)
    assert finished.returncode == 0, finished.stderr
    return Page(target.read_text(encoding="utf-8"))


def test_two_models_on_real_images(cli: WarmCli, tmp_path: Path) -> None:
    """Confusions, calibration and thumbnails of the digits; nothing is asked of anybody."""
    assert cli(*DIGITS).returncode == 0
    refused = cli("report", "-o", "out", "--to", tmp_path / "page.html", "--detail", "nosuch", "--include-partial")
    assert refused.returncode == 2 and "'nosuch'" in refused.stderr and "pocket" in refused.stderr
    page = written(cli, tmp_path, "-o", "out", "--include-partial")
    for words in (
        "Confusion: one row per true class",
        "Recall of each class",
        "ECE",
        "Most confident mistakes",
        "99.5 %",
    ):
        assert words in page.text, words
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert pictures and all((one["src"] or "").startswith("data:image/") and one["alt"] for one in pictures)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base"), tag
        for name in ("src", "srcset", "href", "action", "poster", "xlink:href"):
            fetched = attributes.get(name) if (tag, name) != ("a", "href") else None  # a link waits for a click
            assert (fetched or "#").startswith(("#", "data:image/")), attributes
    policy = next(attributes["content"] or "" for _, attributes in page.tags if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy
    text = (tmp_path / "page.html").read_text()
    assert "@import" not in text and not re.search(r"url\((?!data:)", text)
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = {attributes["href"] or "" for tag, attributes in page.tags if tag == "a"}
    assert {link[1:] for link in links if link.startswith("#")} <= ids
    files = [link for link in links if not link.startswith(("#", "https://"))]
    assert files == [] or all((tmp_path / link).is_file() for link in files)


def test_thumbnails_go_first_where_the_page_grows_too_large(cli: WarmCli, tmp_path: Path) -> None:
    assert cli(*DIGITS).returncode == 0
    stored = load_stored([tmp_path / "out"])[0]
    board = build_leaderboard(Numbers.of(stored), include_partial=True)
    whole = report_page(board, place=DataPlace())
    small = report_page(board, place=DataPlace(), limit=len(whole.encode()) - 1)
    assert "data:image/" in whole and TOO_LARGE not in whole
    assert "data:image/png" not in small and "data:image/jpeg" not in small and TOO_LARGE in small
    assert "Most confident mistakes" in small


RUN_SHAPES = ("run", "-m", "pixels", "-t", "data/shapes.yaml", "--protocol", "linear_probe", "--log-samples")


def test_a_dataset_of_ones_own_keeps_its_report(cli: WarmCli, tmp_path: Path) -> None:
    """The record knows the task file: no option has to name its folder, from wherever the report is written."""
    task = write_folder_task(tmp_path / "data", classes=["white", "red", "black"], size=4)
    task.write_text(task.read_text().replace("title: shapes", "title: Squares of mine\ntags: [mine, general]"))
    for number, image in enumerate(sorted(tmp_path.rglob("test/*/*.png"))):  # so that it is wrong of them
        Image.new("RGB", (4, 4), (90 * (number % 3), 0, 0)).save(image)
    assert cli(*RUN_SHAPES, "-o", "out", "--cache-dir", "c").returncode == 0
    away = tmp_path / "elsewhere"
    away.mkdir()
    finished = cli("report", "-o", tmp_path / "out", cwd=away)
    assert finished.returncode == 0, finished.stderr
    page = Page((away / "evalsuite-report.html").read_text("utf-8"))
    assert "Squares of mine" in page.text and "task file" not in page.text and "No thumbnails" not in page.text
    assert [one for tag, one in page.tags if tag == "img" and (one["src"] or "").startswith("data:image/")]
    tagged = cli("leaderboard", "-o", "out", "--tag", "mine", "--groups", "mine")
    assert tagged.returncode == 0 and "tag:mine: average over shapes" in tagged.stdout, tagged.output

    task.write_text("no task at all\n")
    finished = cli("report", "-o", "out")
    assert "name its folder with --include-path" in finished.stderr
    assert "its task file was not found" in (tmp_path / "evalsuite-report.html").read_text("utf-8")


def test_foreign_yaml_next_to_a_task_is_noted_once(cli: WarmCli, tmp_path: Path) -> None:
    write_folder_task(tmp_path / "data")
    (tmp_path / "data" / "mkdocs.yaml").write_text("site_name: mine\n")
    assert cli(*RUN_SHAPES, "-o", "out", "--cache-dir", "c").returncode == 0
    finished = cli("report", "-o", "out", "--include-path", "data")
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count("1 YAML file without a task passed over: data/mkdocs.yaml") == 1


def test_names_are_text_and_never_markup(cli: WarmCli, tmp_path: Path, bench: Bench) -> None:
    for noise in (0.2, 0.4):
        bench.add(f"<script>alert({noise})</script>", "mnist", noise)
    page = written(cli, tmp_path, "-o", "out")
    assert "<script>alert(0.2)</script>" in page.text
    assert [tag for tag, _ in page.tags].count("script") == 2  # the script and its data
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', (tmp_path / "page.html").read_text())
    assert data and next(row["model"] for row in json.loads(data[1])["rows"]).startswith("<script>")


def test_what_was_not_logged_or_is_not_there_is_said(cli: WarmCli, tmp_path: Path, bench: Bench) -> None:
    bench.add("m/logged", "mnist", 0.4)
    bench.add("m/bare", "cifar10", 0.4, log=False)
    target = tmp_path / "page.html"
    finished = cli("report", "-o", "out", "--data-root", tmp_path, "--to", target)
    page = Page(target.read_text())
    assert "No thumbnails" in page.text and "No predictions were stored" in page.text
    assert "img" not in [tag for tag, _ in page.tags]
    told = "".join(words for tag, words in zip(page.kinds, page.words, strict=True) if tag not in ("script", "style"))
    assert "--data-root" in finished.stderr and "--log-samples" in finished.stderr and " --" not in told


def test_predictions_that_cannot_be_used_are_named(cli: WarmCli, tmp_path: Path, bench: Bench) -> None:
    bench.add("m/cut", "mnist", 0.4)
    bench.add("m/nan", "cifar10", 0.4)
    cut, nan = (next(bench.store.root.rglob(f"{task}*.parquet")) for task in ("mnist", "cifar10"))
    cut.write_bytes(cut.read_bytes()[:500])
    table = pq.read_table(nan)
    place, scores = table.column_names.index("scores"), table["scores"].to_pylist()
    scores[3] = [math.nan] * len(scores[3])
    column = pa.array(scores, type=table.schema.field("scores").type)
    pq.write_table(table.set_column(place, "scores", column).replace_schema_metadata(table.schema.metadata), nan)
    page = written(cli, tmp_path, "-o", "out")
    assert page.text.count("is damaged, or of another record") == 2
    bench.forget_digests()
    page = written(cli, tmp_path, "-o", "out")
    assert f"cannot be used: {cut.relative_to(tmp_path)} cannot be read as a table of samples" in page.text
    assert "cannot be used: some scores are not finite" in page.text and "nan%" not in page.text


def test_other_options_are_told_apart(cli: WarmCli, tmp_path: Path, bench: Bench) -> None:
    bench.add("m/a", "mnist", 0.4)
    bench.add("m/a", "mnist", 0.8, options_hash="0123456789", changed_options={"seed": 1})
    page = written(cli, tmp_path, "-o", "out")
    assert "m/a #01234567 (linear_probe)" in page.text and "m/a (linear_probe)" in page.text


def test_files_that_cannot_be_read_are_named_and_left_out(cli: WarmCli, tmp_path: Path, bench: Bench) -> None:
    bench.add("m/a", "mnist", 0.4)
    broken = tmp_path / "out" / "m__broken" / "mnist.json"
    broken.parent.mkdir()
    broken.write_text("{")
    finished = cli("report", "-o", "out", "--to", tmp_path / "page.html")
    assert finished.returncode == 0 and "m__broken" in finished.stderr
    page = Page((tmp_path / "page.html").read_text())
    assert "m__broken" in page.text and "m/a" in page.text


def test_kinds_of_results_beside_plain_accuracy(cli: WarmCli, tmp_path: Path, bench: Bench) -> None:
    bench.add("m/a", "voc2007", 0.4, metric="map_11_point", n_classes=20)
    bench.add("m/a", "stl10", 0.4, folds=3, n_classes=10)
    bench.add("m/a", "mnist", 0.4, protocol="zero_shot", n_classes=10)
    page = written(cli, tmp_path, "-o", "out", "--published", "resnet/50,clip/vit-b-32", "--detail", "m/*")
    assert "resnet/50" in page.text and "Zero-shot against a linear probe on ResNet-50" in page.text
    assert page.text.count("Recall of each class.") == 2 and page.text.count("precision of the 12 worst classes.") == 1
    assert "On the numbers of the paper: 11-point mAP. What was done with objects marked difficult" in page.text
    measured = written(cli, tmp_path, "-o", "out")
    assert "On the numbers of the paper" not in measured.text


def test_what_is_wrong_is_said(cli: WarmCli, tmp_path: Path, bench: Bench) -> None:
    nothing = cli("report", "-o", tmp_path / "nowhere", "--to", tmp_path / "page.html")
    assert nothing.returncode == 2 and "There is no results folder" in nothing.stderr
    bench.add("m/a", "mnist", 0.4)
    for arguments, words in (
        (("--tasks", "mnits"), "mnist"),
        (("--published", "resnet/51"), "resnet/50"),
        (("--tag", "colour"), "colour"),
        (("--to", str(tmp_path)), "directory"),
    ):
        refused = cli("report", "-o", "out", "--to", tmp_path / "page.html", *arguments)
        assert refused.returncode == 2 and words in refused.stderr, refused.stderr
    assert not (tmp_path / "page.html").exists()


def test_what_to_type_is_said_to_the_maker_of_the_page(cli: WarmCli, tmp_path: Path, bench: Bench) -> None:
    """And not to its readers, who have no command line."""
    bench.add("m/a", "mnist", 0.4)
    bench.add("m/b", "mnist", 0.4, status="partial")
    finished = cli("report", "-o", "out", "--to", "page.html")
    assert "Left out: 1 partial result; --include-partial shows them, marked." in finished.stderr
    assert "Left out: 1 partial result." in Page((tmp_path / "page.html").read_text()).text


def test_the_page_needs_no_torch(cli: WarmCli, bench: Bench) -> None:
    bench.add("m/a", "mnist", 0.4)
    code = (
        "import sys; from evalsuite.cli import main\n"
        "sys.argv = ['evalsuite', 'report', '-o', 'out', '--to', 'page.html']\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=bench.store.root.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out(theme: str) -> None:
    """WCAG 2.2: 4.5 to 1 for text, 3 to 1 for what is drawn."""
    blocks = re.findall(r"\{\s*color-scheme: (light|dark);(.*?)\}", STYLE.read_text(), re.DOTALL)
    found = [dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]{6})", text)) for name, text in blocks if name == theme]
    assert found and all(one == found[0] for one in found)
    colours = found[0]
    for back in ("page", "card"):
        for front in ("text", "muted", "link", "good", "bad"):
            assert contrast(colours[front], colours[back]) >= 4.5, (front, back)
        for front in [f"f{i}" for i in range(8)] + ["focus", "probe", "zero", "other", "amount"]:
            assert contrast(colours[front], colours[back]) >= 3, (front, back)
    for front in ("text", "muted", "link"):
        assert contrast(colours[front], colours["track"]) >= 4.5, front  # a row under the pointer
    shares = [int(share) / 100 for share in re.findall(r"var\(--shade\) (\d+)%", STYLE.read_text())]
    assert len(shares) == 9
    for back in (
        mixed(colours[shade], colours["card"], share)
        for shade in ("amount", "badshade", "goodshade")
        for share in shares
    ):
        assert contrast(colours["text"], back) >= 4.5, back


def mixed(one: str, other: str, share: float) -> str:
    """Return the colour that `color-mix(in srgb, one share, other)` gives."""
    pairs = [(int(one[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in pairs)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG defines it."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_partial_value_has_its_mark_wherever_the_page_shows_it(cli: WarmCli, tmp_path: Path, bench: Bench) -> None:
    """Cards, table, kinds of task, task lines, dots, details, and differences from ResNet-50's probe."""
    for protocol, value in (("linear_probe", 0.7373), ("zero_shot", 0.6464)):
        bench.add("m/a", "mnist", 0.3, value=value, status="partial", protocol=protocol)
    page = written(cli, tmp_path, "-o", "out", "--include-partial", "--tag", "ocr")
    html = (tmp_path / "page.html").read_text()
    shown = re.findall(r"(?:73\.7|64\.6)\S?", page.text)
    assert len(shown) >= 12 and [text for text in shown if text[-1] != "*"] == []
    figure = html[html.index('id="zero-shot"') : html.index('id="cost"')]
    points = re.findall(r"[+-]\d+\.\d\*?", figure)
    assert points and all(text.endswith("*") for text in points), points
    assert "*: from a part of the samples." in figure


def test_the_best_of_a_task_is_a_whole_value(cli: WarmCli, tmp_path: Path, bench: Bench) -> None:
    bench.add("m/some", "mnist", 0.3, value=1.0, status="partial")
    bench.add("m/all", "mnist", 0.3, value=0.9)
    assert "mnist: best 90.0, m/all" in written(cli, tmp_path, "-o", "out", "--include-partial").text
