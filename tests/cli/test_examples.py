"""What examples/README.md tells people to type works, in its order, in a copy of the examples."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import notebook
from tests.cli.conftest import records
from tests.processes import Zygote

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SCRIPT = "import runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"


def commands() -> list[str]:
    """Return the lines of the sh blocks of the README."""
    blocks = (EXAMPLES / "README.md").read_text("utf-8").split("```sh\n")[1:]
    return [line for block in blocks for line in block.partition("```")[0].splitlines() if line.strip()]


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a copy of examples/, as a checkout does."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(EXAMPLES, folder / "examples")
    return folder


@pytest.mark.parametrize("number", range(len(commands())), ids=lambda number: commands()[number])
def test_a_command_of_the_readme_works(zygote: Zygote, copied: Path, number: int) -> None:
    program, *arguments = shlex.split(commands()[number])
    environment = zygote.environment(copied)
    assert program in ("evalsuite", "python")
    script = (
        "import runpy, sys; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
        if program == "python"
        else None
    )
    finished = zygote.run(arguments, environment, copied, code=script)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip()


def test_the_readme_was_followed_to_the_end(copied: Path) -> None:
    """The commands above left what the page says; they ran before, in the order of this file."""
    found = {(r["model"], r["task"], r["protocol"]): r for r in records(copied / "results" / "examples")}
    if not found:
        pytest.skip("the commands were not run")
    assert found["file/my_model-colours", "shapes", "zero_shot"]["metric"]["value"] == 1.0
    assert found["pixels", "even_odd", "linear_probe"]["metric"]["value"] > 0.85
    assert found["file/my_model-network", "digits", "zero_shot"]["status"] == "not_applicable"
    epochs = [found[f"training/epoch-{n}", "digits", "linear_probe"] for n in (1, 2)]
    assert epochs[0]["model_fingerprint"] != epochs[1]["model_fingerprint"]
    assert all(0.5 < record["metric"]["value"] < 1 for record in epochs)
    assert {key[0] for key in found} >= {"pocket"}


def test_the_images_are_what_the_script_draws(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "custom_dataset" / "make_images.py", tmp_path)
    subprocess.run([sys.executable, tmp_path / "make_images.py"], check=True)
    from PIL import Image

    drawn = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.png"))
    assert len(drawn) == 36
    for path in drawn:
        with Image.open(tmp_path / path) as new, Image.open(EXAMPLES / "custom_dataset" / path) as shipped:
            assert new.tobytes() == shipped.tobytes()
    assert sum(file.stat().st_size for file in (EXAMPLES / "custom_dataset").rglob("*.png")) < 60_000


def test_the_task_file_is_short() -> None:
    lines = (EXAMPLES / "custom_dataset" / "shapes.yaml").read_text("utf-8").splitlines()
    assert len(lines) <= 20
    assert set(yaml.safe_load("\n".join(lines))) >= {"title", "classes", "prompts", "sources"}


def shown(cells: list[notebook.Cell]) -> list[list[str]]:
    """Return what the cells of code show, without the digits of numbers, which another processor may give otherwise."""
    texts = [
        ["".join(output.get("text") or output["data"]["text/plain"]) for output in cell["outputs"]]
        for cell in cells
        if cell["cell_type"] == "code"
    ]
    return [[re.sub(r"-?\d[\d.e-]*", "0", text) for text in outputs] for outputs in texts]


def test_the_notebook_shows_what_it_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = notebook.read(EXAMPLES / "first_steps.ipynb")
    assert (stored["nbformat"], stored["metadata"]["kernelspec"]["name"]) == (4, "python3")
    monkeypatch.chdir(tmp_path)
    now = notebook.run(stored["cells"])
    assert shown(now) == shown(stored["cells"]), "python -m tests.notebook examples/first_steps.ipynb"
    tables = [output["data"].get("text/html") for cell in now for output in cell.get("outputs", ())]
    assert len([table for table in tables if table]) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["notebook-results"]


def test_the_callback_for_lightning_logs_where_the_trainer_does(tmp_path: Path) -> None:
    main = runpy.run_path(str(EXAMPLES / "lightning_callback.py"))["main"]
    logged = main(default_root_dir=tmp_path)
    assert 0.6 < logged["digits/linear_probe.limit-200/accuracy"] < 1


def test_the_callback_for_transformers_logs_after_each_evaluation(tmp_path: Path) -> None:
    history = runpy.run_path(str(EXAMPLES / "trainer_callback.py"))["main"]()
    name = "eval_digits/linear_probe.limit-200/accuracy"
    values = [(entry["epoch"], entry[name]) for entry in history if name in entry]
    assert [epoch for epoch, _ in values] == [1.0, 2.0] and all(0.6 < value < 1 for _, value in values)
