import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_data.group_samples import BLOCKS, find_groups

SILICON = np.array([14, 14], dtype=np.uint8)


def sample(source=None, numbers=SILICON, sample_id=None, **extra):
    made = {"atomic_numbers": numbers, "extra": {**({"source": source} if source else {}), **extra}}
    return made | ({"sample_id": sample_id} if sample_id else {})


def groups(samples, by=None):
    return find_groups(by, len(samples), lambda function: map(function, samples))


def test_frames_of_files_stay_together():
    found = groups([sample("a.xyz"), sample("b.xyz"), sample("a.xyz"), sample()])
    assert found.names == ["a.xyz", "b.xyz", "a.xyz", "(sample 3)"]
    assert found.by == "extra.source"
    assert found.note.startswith(
        "frames with the same extra.source (2 values) are in the same split; --split"
    )


@pytest.mark.parametrize(
    ("extra", "by"),
    [
        ({"mp_id": "mp-1"}, "extra.mp_id"),
        ({"sid": 7}, "extra.sid"),
        ({"provenance": {"original_mp_id": "mp-1"}}, "extra.provenance.original_mp_id"),
        ({"sample_id": "mp-1-0-5"}, "sample_id"),
    ],
)
def test_frames_of_material_stay_together(extra, by):
    first = {
        key: str(value).replace("5", "6") if key == "sample_id" else value for key, value in extra.items()
    }
    samples = [sample("all.json", **extra), sample("all.json", mp_id="mp-2"), sample("all.json", **first)]
    found = groups(samples)
    assert found.by == by
    assert found.names[0] == found.names[2] != found.names[1]


def test_identifiers_that_occur_once_are_ignored():
    samples = [sample("a.xyz", mp_id="1"), sample("a.xyz", mp_id="2"), sample("b.xyz", mp_id="3")]
    assert groups(samples).names == ["a.xyz", "a.xyz", "b.xyz"]


def test_databases_are_not_groups():
    assert groups([sample(f"part-{index // 2}.aselmdb") for index in range(6)]).names is None
    assert groups([sample(f"part-{index // 2}.aselmdb") for index in range(6)], "source").names[0] == (
        "part-0.aselmdb"
    )


def test_trajectory_in_one_file_is_reported():
    found = groups([sample("md.xyz")] * 10)
    assert (found.names, found.by) == (None, "frame")
    assert "--split-by block" in found.note
    assert not groups([sample("md.xyz", np.full(1 + index % 2, 6)) for index in range(10)]).note
    assert not groups([sample("md.xyz")] * 10, "frame").note


def test_single_structures_of_files_are_not_grouped():
    assert groups([sample(f"{index}.cif") for index in range(5)]).names is None


@given(st.integers(1, 300))
def test_blocks_are_consecutive(count):
    names = [int(name) for name in find_groups("block", count, lambda function: []).names]
    assert names == sorted(names)
    sizes = np.bincount(names, minlength=min(count, BLOCKS))
    assert sizes.max() - sizes[sizes > 0].min() <= 1


def test_other_criteria_use_grouping():
    samples = [sample("a.xyz", config_type="md"), sample("b.xyz", config_type="rattled")]
    assert groups(samples, "extra.config_type").names == ["md", "rattled"]
    assert groups(samples, "composition").names == ["Si", "Si"]
    assert groups(samples, lambda sample: "one").by == "<lambda>"
    with pytest.raises(ValueError, match=r"no key 'extra\.batch' to group by; use one of composition, .*"):
        groups(samples, "extra.batch")
