import json
import os
import signal
import threading
import time
import warnings

import pytest
from mml_data import LMDBDataset
from mml_data.convert import import_source
from mml_data.importers.dask_workers import DaskWorkers, _lock, _write
from mml_data.importers.write_part import Stopped

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore")


def write_lines(path, count):
    line = {"atomic_numbers": [1, 8], "positions": [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]}
    with path.open("w") as file:
        for number in range(count):
            file.write(json.dumps(line | {"targets": {"energy": float(number)}}) + "\n")
    return path


@pytest.fixture(scope="module")
def cluster():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as made:
            yield made


def test_result_equals_single_process(tmp_path, cluster):
    source = write_lines(tmp_path / "in.jsonl", 300)
    one = import_source(source, tmp_path / "one" / "toy", seed=3)
    done = []
    many = import_source(
        source, tmp_path / "many" / "toy", seed=3, scheduler=cluster.scheduler_address, progress=done.append
    )
    assert len(many.shards) == 4
    assert (one.splits, one.sizes, one.schema, one.source) == (
        many.splits,
        many.sizes,
        many.schema,
        many.source,
    )
    left, right = LMDBDataset(tmp_path / "one" / "toy"), LMDBDataset(tmp_path / "many" / "toy")
    right.verify()
    for index in range(300):
        assert repr(left.stored(index)) == repr(right.stored(index))
    assert done == sorted(done)
    assert done[-1] == 300
    assert not list((tmp_path / "many" / "toy").glob("*.lock"))


def test_killed_worker_loses_nothing(tmp_path, cluster):
    """The task of a killed worker continues on another worker, behind its committed structures."""
    count = 20_000
    source = write_lines(tmp_path / "in.jsonl", count)
    partial = tmp_path / ".toy.partial"
    killed = []

    def kill_one():
        with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
            pids = list(client.run(os.getpid).values())
            while not any(path.stat().st_size > 300_000 for path in partial.glob("shard-*.lmdb")):
                time.sleep(0.01)
            os.kill(pids[0], signal.SIGKILL)
            killed.append((pids[0], any(partial.glob("token-*"))))

    thread = threading.Thread(target=kill_one)
    thread.start()
    manifest = import_source(source, tmp_path / "toy", scheduler=cluster.scheduler_address, jobs=2)
    thread.join()
    assert killed[0][1], "the import had ended before the worker was killed"
    dataset = LMDBDataset(tmp_path / "toy")
    dataset.verify()
    assert manifest.num_samples == count
    energies = [dataset.stored(index)["targets"]["energy"] for index in range(count)]
    assert energies == [float(number) for number in range(count)]


def test_invalid_structure_stops_parts(tmp_path, cluster):
    source = write_lines(tmp_path / "in.jsonl", 400)
    lines = source.read_text().splitlines()
    lines[350] = "{"
    source.write_text("\n".join(lines))
    options = {"scheduler": cluster.scheduler_address, "jobs": 2}
    with pytest.raises(ValueError, match=r"in\.jsonl:351: .*; pass resume=True"):
        import_source(source, tmp_path / "toy", **options)
    source.write_text(source.read_text())
    manifest = import_source(source, tmp_path / "toy", on_error="skip", **options)
    assert (manifest.num_samples, manifest.source["skipped"]) == (399, 1)


def test_lost_function_raises(cluster):
    with (
        DaskWorkers(cluster.scheduler_address, print) as workers,
        pytest.raises(RuntimeError, match="the task lost several workers; if they were killed"),
    ):
        list(workers.summarize([_Exit()]))


class _Exit:
    def __call__(self):
        os._exit(1)

    def __reduce__(self):
        return eval, ("lambda: __import__('os')._exit(1)",)


def test_unreachable_scheduler_raises(monkeypatch):
    monkeypatch.setattr("mml_data.importers.dask_workers._CONNECT", 0.5)
    with (
        pytest.raises(ConnectionError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:1'"),
        DaskWorkers("tcp://127.0.0.1:1", print),
    ):
        pass


def test_scheduler_without_workers_raises(monkeypatch):
    monkeypatch.setattr("mml_data.importers.dask_workers._CONNECT", 0.5)
    with (
        distributed.LocalCluster(n_workers=0, processes=True, dashboard_address=None) as empty,
        pytest.raises(ConnectionError, match=r"has no workers; start them with `dask worker tcp://"),
        DaskWorkers(empty.scheduler_address, print),
    ):
        pass


def test_unshared_directory_raises(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"does not see '.*missing'; the workers must share a file"):
        _write(None, tmp_path / "missing" / "token-1")


def test_removed_token_stops_task(tmp_path):
    with pytest.raises(Stopped):
        _write(None, tmp_path / "token-1")


def test_second_writer_waits(tmp_path, monkeypatch):
    monkeypatch.setattr("mml_data.importers.dask_workers._WAIT", 0.2)
    with (
        _lock(tmp_path / "shard-00000.lock"),
        pytest.raises(BlockingIOError, match=r"still writing '.*shard-00000\.lmdb'; wait until"),
        _lock(tmp_path / "shard-00000.lock"),
    ):
        pass
    with _lock(tmp_path / "shard-00000.lock"):
        pass
