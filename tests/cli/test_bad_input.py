"""What a person gets wrong: a message that names the thing and the remedy, the right exit code, nothing destroyed."""

from __future__ import annotations

import io
import shutil
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.cli.conftest import contents, records
from tests.datasets import write_folder_task
from tests.processes import Finished, WarmCli

STORES = ("-o", "out", "--cache-dir", "cache")


def check_refused(finished: Finished, code: int, *words: str) -> None:
    """The exit code is right, every word is in the message, and there is no traceback."""
    assert finished.returncode == code, finished.stderr
    assert "Traceback" not in finished.output
    for word in words:
        assert word in finished.output, f"{word!r} is not in: {finished.output}"


def changed(task: Path, old: str, new: str, name: str = "changed") -> Path:
    """Write the task file again next to itself with a part replaced."""
    text = task.read_text("utf-8")
    assert old in text
    path = task.with_name(f"{name}.yaml")
    path.write_text(text.replace(old, new), "utf-8")
    return path


@pytest.fixture
def done(tmp_path: Path) -> dict[str, bytes]:
    """What lies in `out` before, and must lie there unchanged and alone afterwards."""
    earlier = tmp_path / "out" / "pixels-01234567" / "digits.linear_probe.json"
    earlier.parent.mkdir(parents=True)
    earlier.write_text('{"schema_version": 1, "status": "ok"}')
    return contents(tmp_path / "out")


# --- names, options and files that can be known before any work: exit 2 ---


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-m", "ViT-B/33", "-t", "digits"], ["Unknown model 'ViT-B/33'", "Did you mean ViT-B/32", "timm:NAME"]),
        (["-m", "open_clip:ViT-B-33/x", "-t", "digits"], ["no architecture 'ViT-B-33'", "Did you mean ViT-B-32"]),
        (["-m", "open_clip:RN50/nowhere.pt", "-t", "digits"], ["nowhere.pt", "which is not a file"]),
        (["-m", "nowhere.py:factory", "-t", "digits"], ["nowhere.py", "which is not there"]),
        (["-m", "pixels", "-t", "digitz"], ["Unknown task 'digitz'", "Did you mean digits?", "evalsuite ls tasks"]),
        (["-m", "pixels", "-t", "embeded"], ["Unknown task 'embeded'", "Did you mean embedded?"]),
        (["-m", "pixels", "-t", "tag:ocrr"], ["the tag 'ocrr'", "Did you mean ocr?"]),
        (["-m", "pixels", "-t", "zz*"], ["No task matches 'zz*'", "evalsuite ls tasks"]),
        (["-m", "pixels", "-t", ""], ["no task is chosen"]),
        (["-m", "", "-t", "digits"], ["no model is chosen"]),
        (["-m", "pixels", "-t", "nowhere.yaml"], ["There is no file", "nowhere.yaml"]),
        (["--protocol", "zeroshot"], ["Unknown protocol 'zeroshot'", "Did you mean zero_shot"]),
        (["--modle", "pixels"], ["--modle", "--model"]),
        (["--batch-size", "0"], ["--batch-size", "0 is too small", "1 or more"]),
        (["--batch-size", "many"], ["--batch-size", "'many'", "whole number"]),
        (["--limit", "0"], ["--limit", "0 is too small", "1 or more"]),
        (["--workers", "-1"], ["--workers", "-1 is too small", "0 or more"]),
        (["--precision", "fp8"], ["--precision", "fp8", "fp16"]),
        (["--device", "gpu"], ["--device gpu", "cuda:N"]),
        (["--data-root", "nowhere"], ["--data-root nowhere", "no such folder"]),
        (["--include-path", "nowhere"], ["--include-path nowhere", "no such folder"]),
        (["--config", "nowhere.yaml"], ["There is no file nowhere.yaml"]),
        (["--prompts", "nowhere.yaml"], ["There is no file nowhere.yaml"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value[0].startswith("-") else "",
)
def test_wrong_names_and_options_are_refused_before_any_work(
    cli: WarmCli, done: dict[str, bytes], tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    given = arguments if "-m" in arguments else ["-m", "pixels", "-t", "digits", *arguments]
    check_refused(cli("run", *given, *STORES), 2, *words)
    assert contents(tmp_path / "out") == done


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["runn"], ["No such command 'runn'", "Did you mean run?"]),
        (["ls", "task"], ["No such command 'task'", "Did you mean tasks?"]),
        (["cache", "veryfy"], ["No such command 'veryfy'", "Did you mean verify?"]),
        (["leaderboard", "-o", "nowhere"], ["no results folder nowhere", "evalsuite run"]),
        (["leaderboard", "--published", "resnt/50"], ["'resnt/50'", "Did you mean resnet/50"]),
        (["leaderboard", "--published", "all", "--to", "board.xls"], ["board.xls", ".md", ".csv"]),
        (["validate", "digitz"], ["Unknown task 'digitz'", "Did you mean digits?"]),
        (["cache", "rm"], ["-m PATTERN", "--all"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_wrong_commands_are_refused(cli: WarmCli, arguments: list[str], words: list[str]) -> None:
    check_refused(cli(*arguments), 2, *words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(cli: WarmCli) -> None:
    check_refused(cli("run", "--device", "cuda", *STORES), 2, "--device cuda", "no CUDA GPU", "--device cpu")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("sizes:", "sizs:", ["line 6", "unknown key 'sizs'", "Did you mean sizes"]),
        ("templates", "templats", ["line 3", "unknown key 'templats'", "Did you mean templates"]),
        ("path: .", "pth: .", ["line 5", "sources[0]", "unknown key 'pth'", "Did you mean path?"]),
        ("a photo of a {} square", "a photo", ["line 3", "'a photo.'", "0 placeholders", "exactly one {}"]),
        ("a photo of a {}", "a {} {}", ["line 3", "2 placeholders", "exactly one {}"]),
        ("title: shapes\n", "", ["the key 'title' is missing"]),
        ("title: shapes\n", "title: shapes\ntitle: again\n", ["line 2", "'title' is given twice"]),
        ("kind: folder", "kind: foldr", ["line 5", "folder"]),
        ("[red, green, blue]", "[red]", ["two classes or more"]),
        ("[red, green, blue]", "[red, red, blue]", ["'red' is listed 2 times"]),
        ("path: .,", "path: ., labels: {by_index: [red, green, blu]},", ["'blu'", "blue"]),
        ("classes: [", "classes: [[", ["not valid YAML"]),
        ("sizes:", "metric: map_11_point\nsizes:", ["map_11_point", "multilabel"]),
        ("sizes:", "metric: roc_auc\nsizes:", ["roc_auc", "2 classes"]),
        ("sizes:", "splits: {test: tst}\nsizes:", ["'tst'", "test"]),
    ],
    ids=["key", "prompts-key", "source-key", "no-placeholder", "two-placeholders", "missing", "twice", "kind",
         "one-class", "class-twice", "label-map", "no-yaml", "metric-labels", "metric-classes", "split"],
)  # fmt: skip
def test_a_task_file_with_a_fault_is_refused_with_its_line(
    cli: WarmCli, done: dict[str, bytes], shapes: Path, tmp_path: Path, old: str, new: str, words: list[str]
) -> None:
    path = changed(shapes, old, new)
    check_refused(cli("run", "-m", "pixels", "-t", path, *STORES), 2, "changed.yaml", *words)
    assert contents(tmp_path / "out") == done


def test_prompts_for_other_classes_are_refused(cli: WarmCli, shapes: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("templates: ['a {}.']\nclasses: [red, green, bleu]\n")
    finished = cli("run", "-m", "pixels", "-t", shapes, "--prompts", path, *STORES)
    check_refused(finished, 2, "mine.yaml", "'shapes'", "'blue'", "'bleu'")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tasks: {a: 1}", ["night.yaml: tasks", "a text, a number or a list", "{'a': 1}"]),
        ("limit: [3, 4]", ["night.yaml: limit", "a text or a number", "[3, 4]"]),
        ("overwrite: 3", ["night.yaml: overwrite", "true or false, not 3"]),
        ("limit: true", ["night.yaml: limit", "not True"]),
        ("limit: 2024-13-45", ["--limit", "'2024-13-45' is no whole number"]),
        ('precision: ["\\e[2J"]', ["night.yaml: precision"]),
        ('precision: "\\e[2J"', ["--precision", "is not one of"]),
        ("tasks: &a [*a]", ["night.yaml", "stands for nothing, or for itself"]),
        ("limit: " + "9" * 5_000, ["night.yaml", "more than 18 digits"]),
        ("[" * 300_000, ["night.yaml", "more than 40 lists"]),
    ],
    ids=[
        "mapping",
        "list",
        "number-for-flag",
        "flag-for-number",
        "date",
        "control-list",
        "control",
        "alias",
        "digits",
        "deep",
    ],
)
def test_values_of_a_wrong_kind_in_a_config_file(cli: WarmCli, tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "night.yaml").write_text(text)
    finished = cli("run", "-m", "pixels", "-t", "digits", "-C", "night.yaml", *STORES)
    check_refused(finished, 2, *words)
    assert "\x1b" not in finished.stderr and len(finished.stderr) < 3_000


def test_an_unknown_option_in_a_config_file(cli: WarmCli, tmp_path: Path) -> None:
    (tmp_path / "night.yaml").write_text("modle: pixels\n")
    check_refused(cli("run", "-C", "night.yaml", *STORES), 2, "night.yaml", "'modle'", "Did you mean model")


def test_an_output_folder_that_cannot_be_made(cli: WarmCli, colours: str, shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    finished = cli("run", "-m", colours, "-t", shapes, "-o", "file/out", "--cache-dir", "cache")
    check_refused(finished, 2, "file/out", "--output")
    assert (tmp_path / "file").read_text() == "in the way"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "arguments", [["new", "task", "file/mine.yaml"], ["leaderboard", "--published", "resnet/50", "--to", "file/b.md"]]
)
def test_a_file_that_cannot_be_written(cli: WarmCli, tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    check_refused(cli(*arguments), 2, "Cannot write file/")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_cache_folder_that_cannot_be_made(cli: WarmCli, colours: str, shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    finished = cli("run", "-m", colours, "-t", shapes, "-o", "out", "--cache-dir", "file/cache")
    check_refused(finished, 2, "file/cache", "--cache-dir")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("open_clip:ViT-B-32/openay", ["'openay'", "Did you mean openai", "open_clip:ViT-B-32/path/to/weights"]),
        ("timm:resnet5", ["'resnet5'", "Did you mean resnet50"]),
        ("timm:resnet50.tv_in2k", ["'resnet50.tv_in2k'", "resnet50.tv_in1k"]),
    ],
)
def test_unknown_weights_are_refused_before_any_work(
    cli: WarmCli, done: dict[str, bytes], shapes: Path, tmp_path: Path, model: str, words: list[str]
) -> None:
    check_refused(cli("run", "-m", model, "-t", shapes, *STORES), 2, *words)
    assert contents(tmp_path / "out") == done


# --- what is known only when a job is tried: recorded, the others go on, exit 1 ---


def check_recorded(finished: Finished, out: Path, kind: str, *words: str) -> None:
    """The run ends with exit 1, and its newest error is a record with the same words."""
    check_refused(finished, 1, "tries the failed ones again", *words)
    errors = [record for record in records(out) if record["status"] == "error"]
    assert errors
    assert {record["error"]["kind"] for record in errors} == {kind}
    for word in words:
        assert word in " ".join(errors[0]["error"]["message"].split())


def test_missing_data_does_not_stop_the_other_tasks(cli: WarmCli, colours: str, shapes: Path, tmp_path: Path) -> None:
    absent = changed(shapes, "path: .", "path: nowhere", name="absent")
    (tmp_path / "root").mkdir()
    finished = cli("run", "-m", colours, "-t", f"{absent},{shapes}", "--data-root", "root", *STORES)
    check_recorded(
        finished, tmp_path / "out", "DataMissingError", "'absent'", "root/nowhere/train", "--data-root", "per class"
    )
    assert [(r["task"], r["status"]) for r in records(tmp_path / "out")] == [
        ("absent", "error"), ("absent", "error"), ("shapes", "ok"), ("shapes", "ok")
    ]  # fmt: skip


def test_partly_missing_data_is_named(cli: WarmCli, colours: str, shapes: Path, tmp_path: Path) -> None:
    shutil.rmtree(shapes.parent / "test")
    finished = cli("run", "-m", colours, "-t", shapes, *STORES)
    check_recorded(finished, tmp_path / "out", "DataMissingError", "only in part", str(shapes.parent / "test"))


def test_a_split_with_a_sample_missing_is_not_scored(cli: WarmCli, colours: str, shapes: Path, tmp_path: Path) -> None:
    (shapes.parent / "test" / "red" / "000.png").unlink()
    finished = cli("run", "-m", colours, "-t", shapes, *STORES)
    check_recorded(finished, tmp_path / "out", "DataMissingError", "'test'", "8 samples", "exactly 9", "sizes")


def test_a_label_without_a_class(cli: WarmCli, colours: str, shapes: Path, tmp_path: Path) -> None:
    (shapes.parent / "train" / "blue").rename(shapes.parent / "train" / "bleu")
    finished = cli("run", "-m", colours, "-t", shapes, *STORES)
    check_recorded(finished, tmp_path / "out", "DataError", "'bleu'", "class keys", "blue")


def truncate(path: Path) -> Path:
    """Put half a JPEG in the place of an image."""
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 80).convert("RGB").save(buffer, "JPEG")
    path.unlink()
    broken = path.with_suffix(".jpg")
    broken.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    return broken


def test_a_truncated_image_is_named(cli: WarmCli, colours: str, shapes: Path, tmp_path: Path) -> None:
    broken = truncate(shapes.parent / "test" / "red" / "000.png")
    finished = cli("run", "-m", colours, "-t", shapes, *STORES)
    check_recorded(finished, tmp_path / "out", "DataError", str(broken), "max_unreadable", "1 image of")


def test_a_truncated_image_is_counted_where_the_task_allows_it(
    cli: WarmCli, colours: str, shapes: Path, tmp_path: Path
) -> None:
    truncate(shapes.parent / "test" / "red" / "000.png")
    path = changed(shapes, "sizes:", "max_unreadable: 1\nsizes:")
    finished = cli("run", "-m", colours, "-t", path, "--protocol", "zero_shot", *STORES)
    assert finished.returncode == 0
    (record,) = records(tmp_path / "out")
    assert (record["status"], record["metric"]["n"]) == ("ok", 8)
    said = "1 image of the pool 'test' cannot be read and is left out, as `max_unreadable` allows: red/000.jpg."
    assert said in record["warnings"]
    assert said in " ".join((finished.stdout + finished.stderr).split())
    assert record["data"]["unreadable"] == {"test": ["red/000.jpg"]}


def test_zero_shot_does_not_need_the_training_images(cli: WarmCli, colours: str, shapes: Path, tmp_path: Path) -> None:
    truncate(shapes.parent / "train" / "red" / "000.png")
    assert cli("run", "-m", colours, "-t", shapes, *STORES).returncode == 1
    assert {r["protocol"]: r["status"] for r in records(tmp_path / "out")} == {
        "zero_shot": "ok",
        "linear_probe": "error",
    }


def test_an_error_leaves_the_earlier_result(cli: WarmCli, colours: str, shapes: Path, tmp_path: Path) -> None:
    cli("run", "-m", colours, "-t", shapes, "--protocol", "zero_shot", *STORES)
    done = contents(tmp_path / "out")
    assert [r["status"] for r in records(tmp_path / "out")] == ["ok"]
    truncate(shapes.parent / "test" / "red" / "000.png")
    finished = cli("run", "-m", colours, "-t", shapes, "--protocol", "zero_shot", *STORES)
    check_refused(finished, 1, "000.jpg")
    after = contents(tmp_path / "out")
    assert {name: after[name] for name in done} == done
    assert [r["status"] for r in records(tmp_path / "out")] == ["error", "ok"]


@pytest.mark.parametrize("model", ["open_clip:RN50/./other.pt", "timm:resnet10t@other.pt"])
def test_a_checkpoint_of_another_architecture(cli: WarmCli, shapes: Path, tmp_path: Path, model: str) -> None:
    torch.save({"state_dict": {"tower.weight": torch.zeros(2, 2)}}, tmp_path / "other.pt")
    finished = cli("run", "-m", model, "-t", shapes, *STORES)
    check_recorded(finished, tmp_path / "out", "ModelError", "other.pt", "does not fit", "tower.weight", "architecture")


def test_a_checkpoint_that_would_run_code(cli: WarmCli, shapes: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": {"weight": torch.zeros(2)}, "options": Fraction(1, 2)}, tmp_path / "evil.pt")
    finished = cli("run", "-m", "timm:resnet10t@evil.pt", "-t", shapes, *STORES)
    check_recorded(finished, tmp_path / "out", "ModelError", "evil.pt", "refused", "torch.save")


@pytest.mark.parametrize("options", [[], ["--offline"]], ids=["no network", "offline"])
def test_weights_that_cannot_be_had(cli: WarmCli, shapes: Path, tmp_path: Path, options: list[str]) -> None:
    finished = cli("run", "-m", "ViT-B/32", "-t", shapes, *options, *STORES)
    check_recorded(finished, tmp_path / "out", "ModelError", "ViT-B/32", "HF_HOME", "ViT-B-32/openai@/path/to")
    assert ("offline was asked for" in finished.output) == bool(options)


def test_data_that_is_not_there(cli: WarmCli, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    finished = cli("run", "-m", "pixels", "-t", "mnist", "--data-root", "root", *STORES)
    check_recorded(finished, tmp_path / "out", "DataMissingError", "evalsuite download mnist", "root/MNIST/raw")


def test_data_that_cannot_be_downloaded(cli: WarmCli, tmp_path: Path) -> None:
    task = tmp_path / "pets.yaml"
    task.write_text(
        "title: Pets\nclasses: [cat, dog]\nprompts: {templates: ['{}']}\n"
        "sources: [{kind: huggingface, repo: org/pets, pools: {train: train, test: test}}]\n"
    )
    finished = cli("run", "-m", "pixels", "-t", task, "--data-root", "root", "--download", *STORES)
    check_recorded(finished, tmp_path / "out", "DataMissingError", "pets", "cannot be reached", "data root")


def test_an_adapter_that_is_not_trusted(cli: WarmCli, tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "python_adapter"
    finished = cli("run", "-m", "pixels", "-t", example / "even_odd.yaml", *STORES)
    check_recorded(finished, tmp_path / "out", "UsageError", "even_odd.py", "--trust-adapters", "Read the file first")


def test_a_missing_extra_is_named(cli: WarmCli, colours: str, tmp_path: Path) -> None:
    task = write_folder_task(tmp_path / "videos", name="videos")
    for image in task.parent.rglob("*.png"):
        image.rename(image.with_suffix(".avi"))
    path = changed(task, "path: .,", "path: ., extensions: [.avi], frame: middle,")
    finished = cli("run", "-m", colours, "-t", path, *STORES, without=["av"])
    check_recorded(finished, tmp_path / "out", "MissingExtraError", "'av'", "pip install 'evalsuite[video]'")


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("def other(): pass", ["no function 'factory'", "other"]),
        ("def factory(): return 3", ["returned int", "preprocess", "encode_images"]),
        ("import nothing_of_that_name", ["fails on import", "nothing_of_that_name"]),
        ("def factory(): raise ValueError('no weights')", ["ValueError", "no weights"]),
    ],
)
def test_a_model_file_that_is_no_model(
    cli: WarmCli, shapes: Path, tmp_path: Path, factory: str, words: list[str]
) -> None:
    (tmp_path / "mine.py").write_text(f"{factory}\n")
    finished = cli("run", "-m", "mine.py:factory", "-t", shapes, *STORES)
    check_refused(finished, 1, "mine.py", *words)
