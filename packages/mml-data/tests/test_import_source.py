import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_data import LMDBDataset
from mml_data.convert import import_source


def line(index, natoms=3):
    rng = np.random.default_rng(index)
    return {
        "atomic_numbers": rng.integers(1, 90, natoms).tolist(),
        "positions": rng.normal(size=(natoms, 3)).tolist(),
        "targets": {"energy": float(index)},
        "extra": {"index_was": index},
    }


def write_lines(path, count, bad=()):
    with path.open("w") as file:
        for index in range(count):
            file.write((json.dumps(line(index)) if index not in bad else "{") + "\n")
    return path


def energies(path):
    return [int(sample["targets"]["energy"]) for sample in LMDBDataset(path)]


def test_the_manifest_holds_the_call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "a b.jsonl", 10)
    manifest = import_source("a b.jsonl", tmp_path / "out", about={"license": "MIT"}, progress=True)
    assert manifest.source["command"] == "mml_data.convert.import_source('a b.jsonl', 'out')"
    assert manifest.source["license"] == "MIT"
    options = {"splits": [0.5, 0.5, 0], "targets": {"energy"}, "units": {"targets.energy": "eV"}}
    manifest = import_source("a b.jsonl", "again", seed=3, jobs=2, **options)
    command = manifest.source["command"]
    assert command == (
        "mml_data.convert.import_source('a b.jsonl', 'again', splits=[0.5, 0.5, 0], seed=3, "
        "targets=['energy'], units={'targets.energy': 'eV'})"
    )
    shutil.rmtree("again")
    exec(f"import mml_data.convert\n{command}", {})
    assert LMDBDataset("again").manifest.source == manifest.source
    assert import_source("a b.jsonl", "mine", about={"command": "mine"}).source["command"] == "mine"


@pytest.mark.parametrize("jobs", [2, 3])
def test_processes_give_the_same_data_set_in_more_shards(tmp_path, jobs):
    source = write_lines(tmp_path / "in.jsonl", 50, bad=(7, 30, 49))
    import_source(source, tmp_path / "one" / "toy", on_error="skip", seed=3)
    import_source(source, tmp_path / "many" / "toy", on_error="skip", seed=3, jobs=jobs)
    one, many = LMDBDataset(tmp_path / "one" / "toy"), LMDBDataset(tmp_path / "many" / "toy")
    many.verify()
    assert len(many.manifest.shards) == jobs
    assert sum(shard.count for shard in many.manifest.shards) == 47
    assert energies(tmp_path / "one" / "toy") == energies(tmp_path / "many" / "toy")
    assert one.manifest.schema == many.manifest.schema
    assert one.manifest.splits == many.manifest.splits
    assert one.manifest.sizes == many.manifest.sizes
    assert one.manifest.source == many.manifest.source
    for name, left in one.manifest.statistics.items():
        right = many.manifest.statistics[name]
        assert (left["count"], left["elements"]) == (right["count"], right["elements"])
        assert left["targets"]["energy"]["mean"] == pytest.approx(right["targets"]["energy"]["mean"])
    errors = [
        json.loads(each) for each in (tmp_path / "many" / "toy" / "errors.jsonl").read_text().splitlines()
    ]
    assert [error["place"].rpartition(":")[2] for error in errors] == ["8", "31", "50"]
    assert all("the line is not valid JSON" in error["error"] for error in errors)
    assert (tmp_path / "one" / "toy" / "errors.jsonl").read_text() == (
        tmp_path / "many" / "toy" / "errors.jsonl"
    ).read_text()


def test_progress_of_several_processes_ends_at_all(tmp_path):
    done = []
    import_source(write_lines(tmp_path / "in.jsonl", 40), tmp_path / "out", jobs=2, progress=done.append)
    assert done[-1] == 40
    assert done == sorted(done)


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_was_committed_before_an_error_is_gone_on_with(tmp_path, jobs):
    count = 6000
    source = write_lines(tmp_path / "in.jsonl", count)
    good = source.read_text()
    source.write_text(good[:-40] + "\n")  # the last line is cut off
    with pytest.raises(
        ValueError, match=rf"in\.jsonl:{count}: the line is not valid JSON.*; [\d,]+ structures are kept"
    ):
        import_source(source, tmp_path / "out", jobs=jobs)
    assert not (tmp_path / "out").exists()
    kept = tmp_path / ".out.partial"
    before = {path.name: path.stat().st_ino for path in kept.glob("shard-*")}
    assert len(before) == jobs
    with pytest.raises(
        ValueError, match=r"cannot be continued, because on_error was stop and is now skip; use the same"
    ):
        import_source(source, tmp_path / "out", jobs=jobs, resume=True, on_error="skip")
    assert {path.name: path.stat().st_ino for path in kept.glob("shard-*")} == before
    begun = []
    with pytest.raises(ValueError, match="the line is not valid JSON"):
        import_source(source, tmp_path / "out", jobs=jobs, resume=True, progress=begun.append)
    assert begun[0] > 1000
    seen = []
    source.write_text(good)
    with pytest.raises(ValueError, match=r"source was .* and is now"):
        import_source(source, tmp_path / "out", jobs=jobs, resume=True)
    import_source(source, tmp_path / "out", jobs=jobs, progress=seen.append)
    assert energies(tmp_path / "out") == list(range(count))
    assert not kept.exists()


def test_errors_are_listed_once_whatever_was_interrupted(tmp_path):
    """Batches of 1,024: what is skipped before and after the last commit is listed once."""
    source = write_lines(tmp_path / "in.jsonl", 2600, bad=(0, 5, 1026, 1030, 2500))
    count = 0

    def interrupt(done):
        nonlocal count
        count = done
        if done == 1500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_source(source, tmp_path / "out", on_error="skip", progress=interrupt)
    assert (tmp_path / ".out.partial").exists()
    begun = []
    import_source(source, tmp_path / "out", on_error="skip", resume=True, progress=begun.append)
    assert begun[0] == 1024
    wanted = [index for index in range(2600) if index not in (0, 5, 1026, 1030, 2500)]
    assert energies(tmp_path / "out") == wanted
    errors = (tmp_path / "out" / "errors.jsonl").read_text().splitlines()
    places = [json.loads(each)["place"].rpartition(":")[2] for each in errors]
    assert places == ["1", "6", "1027", "1031", "2501"]
    LMDBDataset(tmp_path / "out").verify()


KILLED = """
import sys
from mml_data.convert import import_source
def report(done):
    print(done, flush=True)
import_source(sys.argv[1], sys.argv[2], jobs=int(sys.argv[3]), resume=True, on_error="skip", progress=report)
"""


@pytest.mark.slow
@settings(max_examples=5)
@given(st.lists(st.integers(1, 6000), min_size=1, max_size=3), st.sampled_from([1, 1, 2]))
def test_an_import_that_is_killed_is_gone_on_with(tmp_path_factory, after, jobs):
    root = tmp_path_factory.mktemp("killed")
    bad = tuple(range(13, 8000, 997))
    source = write_lines(root / "in.jsonl", 8_000, bad=bad)
    for count in after:
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(source), str(root / "out"), str(jobs)],
            stdout=subprocess.PIPE, start_new_session=True, text=True,
        )  # fmt: skip
        for text in child.stdout:
            if int(text) >= count:
                break
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        if (root / "out").exists():
            break
    else:
        import_source(source, root / "out", jobs=jobs, resume=True, on_error="skip")
    dataset = LMDBDataset(root / "out")
    dataset.verify()
    assert energies(root / "out") == [index for index in range(8_000) if index not in bad]
    assert len((root / "out" / "errors.jsonl").read_text().splitlines()) == len(bad)
    assert dataset.manifest.source["skipped"] == len(bad)
    shutil.rmtree(root)


def test_two_imports_to_one_destination(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", 20)

    def second(done):
        if done == 5:
            with pytest.raises(
                BlockingIOError, match=r"another process is writing to .*out'; wait until it ends"
            ):
                import_source(source, tmp_path / "out")

    import_source(source, tmp_path / "out", progress=second)
    assert len(LMDBDataset(tmp_path / "out")) == 20


def test_nothing_but_bad_structures(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", 3, bad=(0, 1, 2))
    with pytest.raises(ValueError, match=r"in\.jsonl:1: the line is not valid JSON"):
        import_source(source, tmp_path / "out", on_error="skip")
    source = write_lines(tmp_path / "in.jsonl", 3)
    source.write_text(source.read_text().replace('"positions"', '"pos"'))
    with pytest.raises(ValueError, match="unknown key 'pos'"):
        import_source(source, tmp_path / "out", on_error="skip")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jobs": 0}, "jobs must be at least 1, got 0"),
        ({"on_error": "ignore"}, "on_error must be 'stop' or 'skip', got 'ignore'"),
        ({"compression": "gzip"}, "compression must be None or 'zstd'"),
        ({"splits": (0.8, 0.1)}, "splits must be three shares"),
        ({"splits": (1.2, -0.1, -0.1)}, "splits must be three shares"),
        ({"splits": (0, 0.5, 0.5)}, "must be above 0, got"),
        ({"splits": (0.98, 0.01, 0.01)}, "split 'val' would be empty, because 5 samples"),
    ],
)
def test_bad_options(tmp_path, options, message):
    source = write_lines(tmp_path / "in.jsonl", 5)
    with pytest.raises(ValueError, match=message):
        import_source(source, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_share_of_zero_leaves_the_split_out(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", 20)
    manifest = import_source(source, tmp_path / "out", splits=(0.75, 0.25, 0), seed=4)
    assert {name: entry.count for name, entry in manifest.splits.items()} == {"train": 15, "val": 5}
    assert manifest.source["split"] == {"shares": {"train": 0.75, "val": 0.25, "test": 0.0}, "seed": 4}


def test_compressed_and_with_facts(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", 20)
    manifest = import_source(
        source,
        tmp_path / "out",
        compression="zstd",
        units={"targets.energy": "meV"},
        about={"license": "MIT"},
    )
    assert (manifest.compression, manifest.source["license"]) == ("zstd", "MIT")
    assert manifest.schema["targets.energy"]["units"] == "meV"
    assert energies(tmp_path / "out") == list(range(20))


RANK = """
import sys
import torch.distributed as dist
from mml_data.convert import import_source
rank, size, source, dest, meeting = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
try:
    manifest = import_source(source, dest, seed=1)
    assert manifest.num_samples == 30
    dist.barrier()
finally:
    dist.destroy_process_group()
"""


def run_ranks(root, size):
    command = [str(root / "in.jsonl"), str(root / "out"), str(root / "meeting")]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), str(size), *command], stderr=subprocess.PIPE, text=True
        )
        for rank in range(size)
    ]
    return [(child.communicate(timeout=120)[1], child.returncode) for child in children]


def test_ranks_share_the_work(tmp_path):
    write_lines(tmp_path / "in.jsonl", 30)
    for error, status in run_ranks(tmp_path, 2):
        assert status == 0, error
    dataset = LMDBDataset(tmp_path / "out")
    dataset.verify()
    assert len(dataset.manifest.shards) == 2
    assert energies(tmp_path / "out") == list(range(30))
    import_source(tmp_path / "in.jsonl", tmp_path / "one" / "out", seed=1)
    assert (
        Path(tmp_path / "one" / "out" / "split-val.npy").read_bytes()
        == (tmp_path / "out" / "split-val.npy").read_bytes()
    )


def test_an_error_on_one_rank_ends_all(tmp_path):
    write_lines(tmp_path / "in.jsonl", 30, bad=(29,))
    start = time.monotonic()
    for error, status in run_ranks(tmp_path, 2):
        assert status != 0  # gloo may abort where the other rank is gone first
        assert "in.jsonl:30: the line is not valid JSON" in error
    assert time.monotonic() - start < 60
    assert not (tmp_path / "out").exists()
    assert torch.distributed.is_available()
