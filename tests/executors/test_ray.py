"""A Ray cluster of three nodes on one machine: its numbers, a node that is lost in the middle, and what it refuses."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torchvision import transforms
from torchvision.transforms import InterpolationMode

import evalsuite
from evalsuite.api import Results
from evalsuite.code_files import Portable
from evalsuite.data.base import Pool
from evalsuite.data.opening import open_task
from evalsuite.data.place import DataPlace
from evalsuite.errors import DataError, DataMissingError, JobError, UsageError
from evalsuite.executors.local import LocalExecutor
from evalsuite.executors.nodes import NodeEncoder, PoolMark, Work, versions
from evalsuite.executors.ray import RayExecutor, _connect, places_on
from evalsuite.features.batches import read_batches
from evalsuite.features.encoding import EncodedBatch
from evalsuite.features.extraction import PassOptions
from evalsuite.options import RunOptions
from evalsuite.runner.base import Reporter
from tests.datasets import write_folder_task
from tests.models_for_tests import CountingModel
from tests.processes import WarmCli, Zygote

ray = pytest.importorskip("ray", reason="there is no Ray for this Python")

STORE = 80 * 2**20
"""Bytes of the store of a node: as little as Ray allows."""

TOO_BUSY = "timed out during startup"
"""What Ray says of a node that has not started after 30 seconds."""

STOPPING = '''
"""Whoever encodes the fifth batch sends Ctrl-C to the process that made the model, once."""

import os
import signal
from pathlib import Path
from tests.models_for_tests import CountingModel

DRIVER, ONCE = (Path(__file__).with_suffix(suffix) for suffix in (".driver", ".once"))


class Stopping(CountingModel):
    def encode_images(self, batch):
        found = super().encode_images(batch)
        if len(self.batches) == 5 and DRIVER.exists():
            os.kill(int(DRIVER.read_text()), signal.SIGINT)
            DRIVER.unlink()
        return found


def factory():
    if not ONCE.exists():
        DRIVER.write_text(str(os.getpid()))
        ONCE.touch()
    return Stopping()
'''


class Hanging(CountingModel):
    """Never gives a batch back on the node that is the first to write its name into the file `victim`."""

    def __init__(self, victim: Path) -> None:
        super().__init__()
        self.victim = victim

    def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Write down the node and wait for its end, or encode."""
        node = ray.get_runtime_context().get_node_id()
        try:
            descriptor = os.open(self.victim, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return super().encode_images(batch)
        os.write(descriptor, node.encode())
        threading.Event().wait()
        raise AssertionError("never")


class Watching(Reporter):
    """Calls a function when images have come back for the first time."""

    def __init__(self, then: Callable[[], None]) -> None:
        self.then = [then]

    def progress(self, what: str, done: int, total: int | None, unit: str) -> None:
        """Look at what came."""
        if unit == "images" and done and self.then:
            self.then.pop()()


class Locked(CountingModel):
    """Holds what no process can send to another."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class Broken(CountingModel):
    """Raises when it encodes."""

    def __init__(self) -> None:
        super().__init__(fingerprint="broken")

    def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Raise."""
        raise ValueError("no weights today")


class TwoArgumentsError(Exception):
    """Pickled as if it were made of its text alone, which fails where it is unpickled."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first}, {second}")


class Raising(CountingModel):
    """Raises what Ray cannot send, or takes for something else."""

    def __init__(self, *arguments: str) -> None:
        super().__init__(fingerprint=f"raising {arguments}")
        self.arguments = arguments

    def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Raise."""
        raise TwoArgumentsError(*self.arguments) if self.arguments else KeyboardInterrupt("not yours")


class Leaving(CountingModel):
    """Ends the process that unpickles it."""

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        sys.exit("not here")


class Dying(CountingModel):
    """Takes its process with it, once."""

    def __init__(self, once: Path) -> None:
        super().__init__()
        self.once = once

    def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Die or encode."""
        try:
            self.once.touch(exist_ok=False)
        except FileExistsError:
            return super().encode_images(batch)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("never")


class Deadly(CountingModel):
    """Takes its process with it."""

    def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Die as of too little memory."""
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("never")


class Linear(CountingModel):
    """Gives other features at other precisions, and with other decoders."""

    preprocess = transforms.Compose([transforms.Resize(24, InterpolationMode.BICUBIC), transforms.ToTensor()])

    def __init__(self, seed: int) -> None:
        super().__init__(fingerprint=f"linear {seed}")
        self.layer = torch.nn.Linear(3 * 24 * 24, 5)
        torch.nn.init.normal_(self.layer.weight, generator=torch.Generator().manual_seed(seed))

    def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Return five random projections."""
        return {"penultimate": self.layer(batch.flatten(1))}


def from_nowhere() -> CountingModel:
    """Return a model of a class whose module only this process has."""
    module = ModuleType("module_from_nowhere")
    exec("from tests.models_for_tests import CountingModel\nclass Here(CountingModel): pass", vars(module))
    sys.modules[module.__name__] = module
    found: CountingModel = vars(module)["Here"]()
    return found


@pytest.fixture(scope="module", autouse=True)
def _no_token() -> Iterator[None]:
    """Ray writes no token into the home of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        yield


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head, where tests join by RAY_ADDRESS, and two nodes that encode."""
    from ray.cluster_utils import Cluster

    node = {"object_store_memory": STORE, "include_dashboard": False}
    found = Cluster()
    try:
        found.add_node(num_cpus=0, **node)
        for _ in range(2):
            found.add_node(num_cpus=1, **node)
        yield found
    except Exception as error:
        if TOO_BUSY not in str(error):
            raise
        pytest.skip(f"Ray on this busy machine: {TOO_BUSY}")
    finally:
        found.shutdown()


@pytest.fixture
def address(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of the cluster, where it is looked for."""
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    return str(cluster.address)


def run(folder: Path, model: Any, *tasks: Path, **options: Any) -> Results:
    """Evaluate into a folder, two images at a time."""
    return evalsuite.evaluate(
        model,
        [str(task) for task in tasks],
        output=folder / "results",
        cache_dir=folder / "cache",
        batch_size=2,
        **options,
    )


def measured(results: Results, folder: Path) -> dict[str, Any]:
    """Return what records say that is not about time or machines, and the bytes of the stored features."""
    found: dict[str, Any] = {
        record.protocol: [record.status, record.metric, record.metrics, record.fingerprint, record.data, record.details]
        for record in results
    }
    for path in sorted((folder / "cache").rglob("*.npy")):
        found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(found) == 6, found
    return found


def encoded_here(pool: Pool, model: Any, precision: Any, decoder: Any) -> Iterator[EncodedBatch]:
    """Encode a pool in this process, four images at a time."""
    steps = read_batches(
        pool, range(len(pool)), [model.preprocess], batch_size=4, workers=0, on_unreadable=pytest.fail, decoder=decoder
    )
    executor = LocalExecutor([torch.device("cpu")], [precision])
    return executor.mapping(model, precision)(batch for (made,) in steps for batch in made)


@pytest.mark.slow
def test_nodes_give_what_this_machine_gives_though_one_is_lost(cluster: Any, address: str, tmp_path: Path) -> None:
    task = write_folder_task(tmp_path / "task", train=12, test=4)
    (tmp_path / "task" / "train" / "red" / "003.png").write_bytes(b"no image")
    (tmp_path / "task" / "train" / "blue" / "001.png").write_bytes(b"none either")
    task.write_text(task.read_text() + "max_unreadable: 2\n")
    local = run(tmp_path / "local", CountingModel(), task)
    victim, before = tmp_path / "victim", dict(os.environ)

    def kill() -> None:
        (node,) = [node for node in cluster.worker_nodes if node.node_id == victim.read_text()]
        cluster.remove_node(node, allow_graceful=False)

    watching = Watching(kill)
    found = run(tmp_path / "ray", Hanging(victim), task, executor="ray", workers=1, reporter=watching)
    assert measured(found, tmp_path / "ray") == measured(local, tmp_path / "local")
    assert [record.provenance.device for record in found] == ["2 x cpu (Ray)"] * 2
    assert len(cluster.worker_nodes) == 1
    assert not ray.is_initialized() and dict(os.environ) == before


@pytest.mark.slow
def test_faults_of_models_are_recorded_in_a_few_lines(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("evalsuite.executors.ray.RESTARTS", 0)
    task = write_folder_task(tmp_path / "task")
    models = [
        Locked(),
        from_nowhere(),
        Broken(),
        Raising("one", "two"),
        Raising(),
        Leaving(),
        Deadly(),
        CountingModel(),
    ]
    found = run(tmp_path, models, task, protocols="linear_probe", executor="ray", overwrite=True)
    locked, nowhere, broken, raising, interrupted, leaving, deadly, well = found
    assert locked.error.kind == "ModelError" and "cannot be sent" in locked.error.message
    assert "_thread.lock" in locked.error.message
    assert nowhere.error.kind == "ModelError" and "cannot be loaded on the node" in nowhere.error.message
    assert "module_from_nowhere" in nowhere.error.message
    assert broken.error.kind == "ValueError" and "no weights today" in broken.error.message
    assert f"encode_images, {__file__}, line" in broken.error.message
    logs = [path.read_text() for path in (tmp_path / "results").rglob(broken.error.log)]
    assert any("ValueError: no weights today" in log and "encode_over" in log for log in logs)
    assert raising.error.kind == "RuntimeError" and "TwoArgumentsError: one, two" in raising.error.message
    assert interrupted.error.kind == "RuntimeError" and "KeyboardInterrupt: not yours" in interrupted.error.message
    assert leaving.error.kind == "ModelError" and "not here" in leaving.error.message
    assert deadly.error.kind == "JobError" and "--batch-size" in deadly.error.message
    assert "Unhandled error" not in caplog.text  # what Ray says of a fault that nobody asks for
    assert well.status == "ok"
    for record in found[:-1]:
        assert len(record.error.message.splitlines()) <= 6


def test_data_that_a_node_has_not_or_has_otherwise_is_an_error(tmp_path: Path) -> None:
    path = write_folder_task(tmp_path / "task")
    pool = open_task(evalsuite.load_task(path), DataPlace(tmp_path, tmp_path / "cache")).open_pool("train")
    work = Work(pickle.loads(pickle.dumps(PoolMark.of(pool))), range(2), 2)

    def node() -> NodeEncoder:
        made = NodeEncoder(PassOptions(2), processors=1, compile=False)
        made.load("key", pickle.dumps(Portable(CountingModel())), "fp32", versions())
        return made

    assert [list(batch.rows) for batch in node().encode("key", work).batches] == [[0, 1]]
    write_folder_task(tmp_path / "task", train=7)
    with pytest.raises(DataError, match=f"has other files on the node {socket.gethostname()}"):
        node().encode("key", work)
    shutil.rmtree(tmp_path / "task")
    with pytest.raises(DataMissingError, match=f"is not on the node {socket.gethostname()}"):
        node().encode("key", work)


@pytest.mark.slow
def test_another_model_or_precision_takes_the_place_of_the_last(address: str, tmp_path: Path) -> None:
    task = evalsuite.load_task(write_folder_task(tmp_path / "task"))
    pool = open_task(task, DataPlace(tmp_path, tmp_path / "cache")).open_pool("train")
    rows = range(len(pool))
    first, second = Linear(0), Linear(1)
    with closing(RayExecutor(RunOptions(batch_size=4, decoder="torchvision"))) as executor:
        for model, precision in ((first, "fp32"), (second, "fp32"), (first, "bf16"), (first, "fp32")):
            found = sorted(executor.reading(model, precision)(pool, rows, pytest.fail), key=lambda batch: batch.rows[0])
            pillow, here = (encoded_here(pool, model, precision, decoder) for decoder in ("pillow", "torchvision"))
            for there, same, other in zip(found, here, pillow, strict=True):
                assert (list(there.rows), list(there.stamps)) == (list(same.rows), list(same.stamps))
                assert torch.equal(there.layers["penultimate"], same.layers["penultimate"])
                alike = torch.equal(there.layers["penultimate"], other.layers["penultimate"])
                assert not alike or precision == "bf16"  # which is coarser than a grey level


@pytest.mark.slow
def test_an_actor_that_was_lost_with_its_only_work_loads_the_model_first(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evalsuite.executors.ray.places_on", lambda *given: places_on(*given)[:1])
    monkeypatch.setattr("evalsuite.executors.ray.RESTARTS", 1)
    task = evalsuite.load_task(write_folder_task(tmp_path / "task"))
    pool = open_task(task, DataPlace(tmp_path, tmp_path / "cache")).open_pool("train")
    with closing(RayExecutor(RunOptions(batch_size=len(pool)))) as executor:
        (batch,) = executor.reading(Dying(tmp_path / "once"), "fp32")(pool, range(len(pool)), pytest.fail)
    assert list(batch.rows) == list(range(len(pool)))


@pytest.mark.slow
def test_ctrl_c_ends_a_run_and_the_cluster_that_it_started(zygote: Zygote, tmp_path: Path) -> None:
    task = write_folder_task(tmp_path / "task", train=12)
    model = tmp_path / "model.py"
    model.write_text(STOPPING)
    arguments = [
        "run", "-m", f"{model}:factory", "-t", task, "-o", tmp_path / "ray" / "results",
        "--cache-dir", tmp_path / "ray" / "cache", "--batch-size", "2", "--executor", "ray",
    ]  # fmt: skip
    environment = zygote.environment(tmp_path)
    environment.pop("RAY_ADDRESS", None)
    stopped = zygote.run(arguments, environment, tmp_path)
    if TOO_BUSY in stopped.stderr:
        pytest.skip(f"Ray on this busy machine: {TOO_BUSY}")
    assert stopped.returncode == 130 and "same command" in stopped.stderr, stopped.stderr
    assert "Traceback" not in stopped.stderr and "Ray" not in stopped.stderr
    finished = run(tmp_path / "ray", f"{model}:factory", task)
    undisturbed = run(tmp_path / "local", f"{model}:factory", task)
    assert measured(finished, tmp_path / "ray") == measured(undisturbed, tmp_path / "local")


def test_sigterm_while_ray_starts_is_that_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []

    def init(**options: Any) -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # as Ray does
        os.kill(os.getpid(), signal.SIGTERM)

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt(number)

    fake = SimpleNamespace(is_initialized=lambda: False, init=init, shutdown=lambda: ended.append("shut down"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt, match="15"):
            _connect(fake)
        assert signal.getsignal(signal.SIGTERM) is interrupt and ended == ["shut down"]
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("127.0.0.1:9", "no Ray cluster at RAY_ADDRESS=127.0.0.1:9"),
        ("127.0.0.1:port", "no Ray cluster at RAY_ADDRESS=127.0.0.1:port"),
        ("nonsense", "no Ray cluster at RAY_ADDRESS=nonsense"),
    ],
)
def test_no_cluster_at_the_address_is_said_at_once(cli: WarmCli, tmp_path: Path, given: str, message: str) -> None:
    done = cli("run", "-m", "pixels", "-t", "digits", "--executor", "ray", env={"RAY_ADDRESS": given})
    assert done.returncode == 2 and message in done.output
    assert len(done.stderr.splitlines()) <= 4


def test_missing_package_and_devices_that_ray_chooses_are_said_before_any_work(cli: WarmCli) -> None:
    without = cli("run", "-m", "pixels", "-t", "digits", "--executor", "ray", without=["ray"])
    assert without.returncode == 2 and "pip install 'evalsuite[ray]'" in without.output
    chosen = cli("run", "-m", "pixels", "-t", "digits", "--executor", "ray", "--device", "cuda:1")
    assert chosen.returncode == 2 and "auto, cpu or cuda" in chosen.output


def test_cluster_without_a_gpu_says_so(address: str) -> None:
    with pytest.raises(UsageError, match="no node of the Ray cluster has a GPU"):
        RayExecutor(RunOptions(device="cuda"))
    assert not ray.is_initialized()


def test_each_gpu_has_its_share_of_the_processors_of_its_node() -> None:
    nodes = [
        {"NodeID": "a" * 56, "Alive": True, "Resources": {"CPU": 64.0, "GPU": 8.0}},
        {"NodeID": "b" * 56, "Alive": True, "Resources": {"CPU": 16.0, "GPU": 1.0}},
        {"NodeID": "c" * 56, "Alive": True, "Resources": {"CPU": 32.0}},
        {"NodeID": "d" * 56, "Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
        {"NodeID": "e" * 56, "Alive": True, "Resources": {"memory": 1e9}},
    ]
    places = {device: places_on(nodes, device) for device in ("auto", "cuda", "cpu")}
    shown = {
        device: [(place["scheduling_strategy"].node_id[0], place.get("num_gpus"), place["num_cpus"]) for place in found]
        for device, found in places.items()
    }
    assert shown["auto"] == shown["cuda"] == [("a", 1, 8)] * 8 + [("b", 1, 16)]
    assert shown["cpu"] == [("a", None, 64), ("b", None, 16), ("c", None, 32)]


def test_node_with_other_versions_is_refused() -> None:
    encoder = NodeEncoder(PassOptions(2), processors=1, compile=False)
    with pytest.raises(JobError, match=r"torch .*, not 0\.1\b"):
        encoder.load("key", b"", "fp32", {**versions(), "torch": "0.1"})
