"""The package as people install it: a checkout, and a wheel in another environment."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
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
def fresh_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as a source distribution carries it, unpacked: what somebody has who has just fetched it."""
    folder = tmp_path_factory.mktemp("source")
    build(ROOT, "sdist", folder)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def build(project: Path, kind: str, folder: Path) -> None:
    """Build a distribution of a project into a folder."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    subprocess.run(command, cwd=project, check=True, capture_output=True)


def test_a_source_distribution_has_documentation_examples_and_tests(fresh_copy: Path) -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    missing = [name for name in tracked if not name.startswith(".") and not (fresh_copy / name).exists()]
    assert missing == []
    assert all(
        (fresh_copy / name).exists() for name in ("docs/tasks.md", "examples/README.md", "tests/test_package.py")
    )


def test_the_page_of_the_package_links_to_what_it_shows(fresh_copy: Path) -> None:
    found = email.message_from_string((fresh_copy / "PKG-INFO").read_text("utf-8"))
    urls = dict(line.split(", ", 1) for line in found.get_all("Project-URL") or [])
    assert {"Source", "Documentation", "Changelog", "Issues"} <= urls.keys()
    shown = str(found.get_payload())
    links = re.findall(r"\]\(([^)\s]+)\)", shown)
    assert len(links) > 20
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    names = [link.removeprefix(f"{urls['Source']}/blob/main/").partition("#")[0] for link in links if "/blob/" in link]
    assert names and [name for name in names if not (ROOT / name).exists()] == []


@pytest.fixture(scope="module")
def wheel_python(fresh_copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and install it into a fresh environment that sees our dependencies but not the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build(fresh_copy, "wheel", folder)
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


# --- the first hour of the README, pasted into a shell


def section(heading: str) -> list[str]:
    """Return the sh blocks of a section of the README."""
    text = (ROOT / "README.md").read_text("utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of somebody without any of our programs; `pip` finds the dependencies to be there already."""
    home = tmp_path_factory.mktemp("newcomer")
    (home / "bin").mkdir()
    (home / "bin" / "python3").write_text(f'#!/bin/sh\nexec "{sys._base_executable}" "$@"\n')  # type: ignore[attr-defined]
    (home / "bin" / "python3").chmod(0o755)
    (home / "dependencies").mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if "evalsuite" not in path.name:
            (home / "dependencies" / path.name).symlink_to(path)
    return {
        "HOME": str(home),
        "PATH": f"{home / 'bin'}:/usr/bin:/bin",
        "PYTHONPATH": str(home / "dependencies"),
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "false",  # pip takes it for the value of `build isolation`
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "OMP_NUM_THREADS": "1",
        "NO_COLOR": "1",
        "LC_ALL": "C.UTF-8",
    }


@pytest.mark.slow
def test_the_first_hour_of_the_readme(fresh_copy: Path, newcomer: dict[str, str]) -> None:
    ways = section("Install")
    assert [way.split()[0] for way in ways] == ["uvx", "pipx", "python3"]
    pasted = "set -e\n" + "".join([ways[-1], *section("The first hour")])
    played = subprocess.run(["bash"], input=pasted, cwd=fresh_copy, env=newcomer, capture_output=True, text=True)
    assert played.returncode == 0, played.stderr
    assert re.search(r"pocket +\| linear_probe +\| measured +\| +\*\*96\.3\*\*", played.stdout)
    assert re.search(r"resnet/50 +\| linear_probe +\| paper", played.stdout)
    page = (fresh_copy / "my_shapes.html").read_text("utf-8")
    assert "My Shapes" in page and "blue triangle" in page and "All answers are right" in page
    assert re.search(r'<img[^>]+src="data:image/', page), "no thumbnail of the images of the dataset"

    # What `make run` ends with works when it is pasted.
    recipe = subprocess.run(
        ["make", "-n", "run"], cwd=fresh_copy, env=newcomer, capture_output=True, text=True, check=True
    )
    shown = subprocess.run(
        ["sh", "-c", recipe.stdout.splitlines()[-1]], capture_output=True, text=True, check=True
    ).stdout
    line = shown.splitlines()[-1].strip()
    found = subprocess.run(["sh", "-c", f"{line} && evalsuite --version"], cwd=fresh_copy, env=newcomer, check=False)
    assert found.returncode == 0, line
