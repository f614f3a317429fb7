"""`evalsuite import` as a person types it, and what the leaderboard makes of it."""

from __future__ import annotations

from pathlib import Path

from tests.processes import WarmCli

TABLE = """\
name,pretrained,Average perf. on 38 datasets,ImageNet 1k,MNIST,SVHN,EuroSAT
ViT-B-32,openai,0.5,0.6332,0.4824,0.3,0.5052
convnext_base,laion400m_s13b_b51k,0.5,0.6627,,0.4,0.4850
"""


def test_a_table_is_imported_shown_and_replaced(cli: WarmCli, tmp_path: Path) -> None:
    path = tmp_path / "openclip_results.csv"
    path.write_text(TABLE)
    done = cli("import", path)
    assert done.returncode == 0
    assert "Imported 2 rows x 3 tasks (zero_shot) as open-clip" in done.stdout
    assert done.stderr.splitlines() == [
        "warning: left out, no task here: SVHN",
        "warning: left out, no value: convnext_base laion400m_s13b_b51k on MNIST",
        "note: eurosat: VTAB's split, 5,400 test images, not 500 a class",
    ]
    chosen = ["-m", "clip/vit-b-32,open_clip/*", "-t", "imagenet,mnist", "--format", "csv"]
    board = cli("leaderboard", "-o", tmp_path, "--published", "all", *chosen)
    assert board.returncode == 0 and "DataComp" in board.stderr
    assert [line.split(",")[:5] for line in board.stdout.splitlines()[1:]] == [
        ["clip/vit-b-32", "linear_probe", "paper", "76.10", "99.00"],
        ["clip/vit-b-32", "zero_shot", "paper", "63.20", "51.90"],
        ["clip/vit-b-32", "zero_shot", "imported:open-clip", "63.32", "48.24"],
        ["open_clip/convnext_base-laion400m_s13b_b51k", "zero_shot", "imported:open-clip", "66.27", ""],
    ]
    path.write_text(TABLE.replace("0.6332", "0.1"))
    assert cli("import", path).returncode == 0
    again = cli("leaderboard", "-o", tmp_path, "--published", "open-clip", "--format", "csv")
    assert "10.00" in again.stdout and "63.32" not in again.stdout


def test_what_is_wrong_is_said_and_changes_nothing(cli: WarmCli, tmp_path: Path) -> None:
    path = tmp_path / "openclip_results.csv"
    path.write_text(TABLE)
    assert cli("import", path, "--name", "lab").returncode == 0
    path.write_text(TABLE.replace("0.6332", "63.32"))
    refused = cli("import", path, "--name", "lab")
    assert refused.returncode == 2 and "line 2, column 'ImageNet 1k'" in refused.stderr
    assert "63.32" in cli("leaderboard", "-o", tmp_path, "--published", "lab", "--format", "csv").stdout
    assert cli("import", tmp_path / "nowhere.csv").returncode == 2
    unknown = cli("leaderboard", "-o", tmp_path, "--published", "lap")
    assert unknown.returncode == 2 and "Did you mean lab" in unknown.stderr
    blocked = cli("import", path, "--units", "percent", env={"EVALSUITE_HOME": str(path)})
    assert blocked.returncode == 2 and "Cannot write" in blocked.stderr and "Traceback" not in blocked.stderr


def test_the_shell_completes_tables_and_rows(cli: WarmCli, tmp_path: Path) -> None:
    path = tmp_path / "openclip_results.csv"
    path.write_text(TABLE)
    assert cli("import", path, "--name", "lab").returncode == 0
    words = {"_EVALSUITE_COMPLETE": "bash_complete", "COMP_CWORD": "3"}
    offered = cli(env={**words, "COMP_WORDS": "evalsuite leaderboard --published resnet/50,la"}).stdout
    assert offered == "plain,resnet/50,lab\n"
