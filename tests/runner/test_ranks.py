"""Processes that train together: one of them evaluates, all have its results, and no probe is fitted twice."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed

from tests.datasets import write_folder_task
from tests.processes import Finished, Zygote

SCRIPT = """
import os, sys
import torch
import torch.distributed as dist
import evalsuite
from evalsuite.protocols.linear_probe import LinearProbe
from evalsuite.runner.reporters import LineReporter
from tests.runner.test_python import Colours, shrink

rank, task, folder = int(os.environ["RANK"]), *sys.argv[1:3]
fits = []
fit = LinearProbe.run
LinearProbe.run = lambda self, given: fits.append(1) or fit(self, given)


def probe(network, **more):
    keywords = {"cache_dir": f"{folder}/cache", "output": f"{folder}/out", "name": "net", **more}
    (found,) = evalsuite.evaluate(network, task, "linear_probe", preprocess=shrink, **keywords).raise_for_errors()
    return round(found.metric.value, 3)
"""

TRAINING = """
dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
network = Colours()
network.register_buffer("mean", torch.tensor(float(rank)))  # each process has its own running means
values = [probe(network), probe(network, cache="off")]
if rank == 0:
    network.weight.data.mul_(2)  # evaluating on rank 0 alone waits for nobody ...
    values.append(probe(network, ranks="each"))
    network.weight.data.div_(2)
network.weight.data.zero_()
values.append(probe(network))
try:
    probe(network, limit=-1)
except evalsuite.UsageError as error:
    values.append(str(error))
network.weight.data.fill_(rank + 1)
try:
    values.append(probe(network))
except evalsuite.EvalsuiteError as error:
    values.append("other weights" if str(error).startswith("Rank 1 evaluates net on shapes [") else str(error))
values.append(probe(network, ranks="each", cache="off"))
print(len(fits), values)
dist.barrier()
dist.destroy_process_group()
"""


def together(zygote: Zygote, folder: Path, code: str, **environment: str) -> list[Finished]:
    """Run code in two processes at a time."""
    task = str(write_folder_task(folder / "shapes"))
    started = [
        zygote.start(
            [task, folder], zygote.environment(folder, {"RANK": str(rank), "WORLD_SIZE": "2", **environment}),
            Path(__file__).parents[2], code=SCRIPT + code,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    finished = [process.finish() for process in started]
    assert [process.returncode for process in finished] == [0, 0], [process.stderr for process in finished]
    return finished


def test_rank_0_evaluates_and_the_others_have_its_results(zygote: Zygote, tmp_path: Path) -> None:
    first, second = together(zygote, tmp_path, TRAINING)
    wrong = "--limit -1: give a number of 1 or more."
    assert first.stdout.strip() == f"5 {[1.0, 1.0, 1.0, 0.333, wrong, 1.0, 1.0]}"  # the last but one is stored
    assert second.stdout.strip() == f"1 {[1.0, 1.0, 0.333, wrong, 'other weights', 1.0]}"


@pytest.mark.skipif(os.name == "nt", reason="torchrun's store is tried on Unix")
def test_under_torchrun_without_a_process_group_it_is_the_same(zygote: Zygote, tmp_path: Path) -> None:
    agent = torch.distributed.TCPStore(
        "127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60)
    )
    code = 'print(len(fits), probe(Colours(), cache="off"), len(fits))'
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(agent.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    first, second = together(zygote, tmp_path, code, **place)
    assert (first.stdout.split(), second.stdout.split()) == (["0", "1.0", "1"], ["0", "1.0", "0"])
