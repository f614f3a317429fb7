"""The package as people install it: a checkout, and a wheel in another environment."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import evalsuite
from evalsuite import config, resources

ROOT = Path(__file__).resolve().parents[1]


def test_a_checkout_reads_its_top_level_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tasks", "prompts", "results/published"):
        assert resources.data_dir(name) == ROOT / name  # type: ignore[arg-type]
    assert resources.checkout_dir() == ROOT
    monkeypatch.delenv("EVALSUITE_HOME")
    assert config.default_output() == ROOT / "results" / "runs"


def test_a_home_that_is_named_holds_everything_of_a_checkout_from_any_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EVALSUITE_HOME", str(tmp_path / "home"))
    for folder in (ROOT, tmp_path):
        monkeypatch.chdir(folder)
        places = [config.default_output(), config.default_cache(), config.default_data_root(), config.imported_dir()]
        assert places == [tmp_path / "home" / name for name in ("results", "cache", "data", "imported")]


def test_public_names_are_there_and_cost_nothing_until_used() -> None:
    for name in evalsuite.__all__:
        assert getattr(evalsuite, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        _ = evalsuite.evaluat
    code = "import sys, evalsuite; sys.exit(any(m in sys.modules for m in ('torch', 'pandas', 'pydantic', 'click')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture(scope="module")
def wheel_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and install it into a fresh environment that sees our dependencies but not the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False, symlinks=True)
    python = folder / "env" / "bin" / "python"
    site = Path(
        subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    )
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(site)], check=True)
    # A path file is not followed through another one, so the editable install of the checkout stays unseen.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def run_wheel(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run evalsuite of the wheel from a folder that has nothing to do with the checkout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("EVALSUITE_", "PYTHON"))}
    environment |= {"EVALSUITE_HOME": str(folder / "home"), "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [python, "-m", "evalsuite", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_wheel_carries_tasks_prompts_tables_and_models(wheel_python: Path, tmp_path: Path) -> None:
    where = (
        "import evalsuite, evalsuite.resources as r; print(evalsuite.__file__, r.data_dir('tasks'), r.checkout_dir())"
    )
    found = subprocess.run([wheel_python, "-c", where], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert str(ROOT) not in found and found.rstrip().endswith("evalsuite/_data/tasks None")

    listed = run_wheel(wheel_python, tmp_path, "ls", "tasks", "digits")
    assert listed.returncode == 0 and "ready" in listed.stdout, listed.stderr
    published = run_wheel(wheel_python, tmp_path, "leaderboard", "--published", "resnet/50", "-t", "mnist")
    assert published.returncode == 0 and "98.3" in published.stdout, published.stderr
    assert run_wheel(wheel_python, tmp_path, "new", "task", "mine.yaml").returncode == 0
    (tmp_path / "theirs.csv").write_text("name,pretrained,MNIST\nViT-B-32,openai,0.5\n")
    assert run_wheel(wheel_python, tmp_path, "import", "theirs.csv").returncode == 0


def test_a_wheel_runs_both_protocols(wheel_python: Path, tmp_path: Path) -> None:
    ran = run_wheel(wheel_python, tmp_path, "run", "-m", "pocket", "-t", "digits", "--limit", "40")
    assert ran.returncode == 0, ran.stderr
    records = list((tmp_path / "home" / "results").rglob("digits.*.json"))
    assert {path.name.split(".")[1] for path in records} == {"zero_shot", "linear_probe"}
