import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_data import LMDBDataset
from mml_data.convert import import_source
from mml_data.importers.write_parts import write_parts


def energies(path):
    return [int(sample["targets"]["energy"]) for sample in LMDBDataset(path)]


@pytest.mark.parametrize("jobs", [2, 3])
def test_jobs_give_equal_data_sets(tmp_path, jobs, write_lines):
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


def test_progress_ends_at_total(tmp_path, write_lines):
    done = []
    import_source(write_lines(tmp_path / "in.jsonl", 40), tmp_path / "out", jobs=2, progress=done.append)
    assert done[-1] == 40
    assert done == sorted(done)


@pytest.mark.parametrize("jobs", [1, 2])
def test_resume_continues_after_error(tmp_path, jobs, write_lines):
    count = 6000
    source = write_lines(tmp_path / "in.jsonl", count)
    good = source.read_text()
    source.write_text(good[:-40] + "\n")  # the last line is cut off
    with pytest.raises(
        ValueError, match=rf"in\.jsonl:{count}: the line is not valid JSON.*; kept [\d,]+ structure\(s\)"
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
def test_resume_continues_killed_import(tmp_path_factory, write_lines, after, jobs):
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


def test_second_import_to_destination_raises(tmp_path, write_lines):
    source = write_lines(tmp_path / "in.jsonl", 20)

    def second(done):
        if done == 5:
            with pytest.raises(
                BlockingIOError, match=r"another process is writing to .*out'; wait until it ends"
            ):
                import_source(source, tmp_path / "out")

    import_source(source, tmp_path / "out", progress=second)
    assert len(LMDBDataset(tmp_path / "out")) == 20


def test_import_without_structures_raises(tmp_path, write_lines):
    source = tmp_path / "in.jsonl"
    source.write_text('{"atomic_numbers": [1]\n' * 3)
    with pytest.raises(ValueError, match=r"3 were skipped .*in\.jsonl:1: the line is not valid JSON"):
        import_source(source, tmp_path / "out", on_error="skip")
    source = write_lines(tmp_path / "in.jsonl", 3)
    source.write_text(source.read_text().replace('"positions"', '"pos"'))
    with pytest.raises(ValueError, match="unknown key 'pos'"):
        import_source(source, tmp_path / "out", on_error="skip")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


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


def test_ranks_share_work(tmp_path, write_lines):
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


def test_error_on_one_rank_ends_all(tmp_path, write_lines):
    write_lines(tmp_path / "in.jsonl", 30, bad=(29,))
    start = time.monotonic()
    for error, status in run_ranks(tmp_path, 2):
        assert status != 0  # gloo may abort where the other rank is gone first
        assert "in.jsonl:30: the line is not valid JSON" in error
    assert time.monotonic() - start < 60
    assert not (tmp_path / "out").exists()
    assert torch.distributed.is_available()


@dataclass(frozen=True)
class BrokenText:
    """Source whose only part fails after 1,100 samples, with an error that needs several arguments."""

    units: ClassVar = {}

    def describe(self):
        return {"origin": "test"}

    def parts(self, count):
        return [self]

    def read(self, start=0):
        for number in range(start, 1100):
            yield str(number), {"atomic_numbers": np.array([1]), "pos": np.zeros((1, 3))}
        b"\xff".decode()


def test_error_of_any_type_names_kept_structures(tmp_path):
    with pytest.raises(
        RuntimeError, match=r"can't decode byte 0xff .*; kept 1,024 structure\(s\); pass resume"
    ):
        write_parts(BrokenText(), tmp_path / "out", plan=None, splits=lambda count: {}, about={})
