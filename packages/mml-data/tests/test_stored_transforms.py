import numpy as np
import pytest
import torch
from mml_data import LMDBDataset, LMDBWriter, MatSciMLDataModule, devset_path
from mml_graphs import (
    DistancesTransform,
    GraphCollate,
    PeriodicPropertiesTransform,
    PointCloudToGraphTransform,
    collate_samples,
)


class Shift:
    def __init__(self, by=1.0):
        self.by = by

    def __call__(self, sample):
        return {**sample, "pos": sample["pos"] + self.by}


class InPlace:
    def __call__(self, sample):
        sample["targets"]["energy"] += 1.0
        return sample


def add_note(sample):
    return {**sample, "note": "x"}


@pytest.mark.parametrize("jobs", [1, 2])
def test_precomputed_samples_equal_transformed_ones(tmp_path, jobs):
    source = LMDBDataset(devset_path("emt"), indices=range(40))
    transforms = [PeriodicPropertiesTransform(4.0), DistancesTransform()]
    stored = source.precompute(transforms, tmp_path / "edges", jobs=jobs)
    stored.verify()
    lazy = LMDBDataset(devset_path("emt"), indices=range(40), transforms=transforms)
    for left, right in zip(stored, lazy, strict=True):
        assert left.keys() == right.keys()
        for key, value in right.items():
            if isinstance(value, torch.Tensor):
                assert left[key].dtype == value.dtype, key
                assert torch.equal(left[key], value), key
        assert left["sample_id"] == right["sample_id"]
        torch.testing.assert_close(left["targets"], right["targets"], rtol=0, atol=0)
    assert stored.sizes("nedges").tolist() == [len(sample["src_nodes"]) for sample in lazy]
    assert len(stored.manifest.shards) == jobs
    assert stored.manifest.schema["targets.energy"]["units"] == "eV"


def test_precompute_stores_own_transforms(tmp_path, stored):
    dataset = LMDBDataset(stored, [Shift(), InPlace()])
    made = dataset.precompute([add_note], tmp_path / "out")
    for left, right in zip(dataset, made, strict=True):
        assert torch.equal(left["pos"], right["pos"])
        assert left["targets"]["energy"] == right["targets"]["energy"]


def test_unchanged_values_keep_digits(tmp_path, stored):
    made = LMDBDataset(stored).precompute([Shift(), InPlace()], tmp_path / "out")
    for left, right in zip(range(20), range(20), strict=True):
        before, after = LMDBDataset(stored).stored(left), made.stored(right)
        assert after["atomic_numbers"].dtype == np.uint8
        np.testing.assert_array_equal(after["pos"], before["pos"] + 1.0)
        assert float(after["targets"]["energy"]) == pytest.approx(before["targets"]["energy"] + 1, rel=1e-6)
        assert after["targets"]["system"] == before["targets"]["system"]
    same = LMDBDataset(stored).precompute([], tmp_path / "same")
    assert [same.stored(i)["targets"]["energy"] for i in range(20)] == [
        LMDBDataset(stored).stored(i)["targets"]["energy"] for i in range(20)
    ]


def test_precompute_keeps_splits_and_statistics(tmp_path, stored, splits):
    made = LMDBDataset(stored).precompute([add_note], tmp_path / "out")
    assert {name: made.split_indices(name).tolist() for name in made.splits} == splits
    assert made.manifest.statistics["train"]["count"] == 12
    part = LMDBDataset(stored, split="train").precompute([add_note], tmp_path / "part")
    assert len(part) == 12
    assert part.splits == {}
    assert part[0]["sample_id"] == "toy/000001"


def test_stale_data_set_raises(tmp_path, stored, monkeypatch):
    dataset, path = LMDBDataset(stored), tmp_path / "out"
    dataset.precompute([Shift(1.0)], path)
    made = (path / "manifest.json").stat().st_ino
    assert len(dataset.precompute([Shift(1.0)], path)) == 20
    assert (path / "manifest.json").stat().st_ino == made
    with pytest.raises(
        ValueError,
        match=r"out' is stale, because it was made with Shift\(by=1\.0\), which is now 2\.0; .*overwrite",
    ):
        dataset.precompute([Shift(2.0)], path)
    with pytest.raises(ValueError, match="made with the transforms Shift, which are now Shift, add_note"):
        dataset.precompute([Shift(1.0), add_note], path)
    with pytest.raises(ValueError, match="is stale, because it was made from other samples"):
        LMDBDataset(stored, split="val").precompute([Shift(1.0)], path)
    with pytest.raises(ValueError, match="was not precomputed; choose another path"):
        dataset.precompute([Shift(1.0)], stored)
    import mml_graphs

    edges = dataset.precompute([PeriodicPropertiesTransform(3.0)], tmp_path / "edges")
    monkeypatch.setattr(mml_graphs, "__version__", "99")
    with pytest.raises(ValueError, match=r"PeriodicPropertiesTransform of version .*, which is now 99"):
        dataset.precompute([PeriodicPropertiesTransform(3.0)], edges.path)
    assert float(dataset.precompute([Shift(2.0)], path, overwrite=True)[0]["pos"][0, 0]) != 0


def test_fingerprint_includes_own_transforms(tmp_path, stored):
    dataset = LMDBDataset(stored, transforms=[Shift(1.0)])
    made = dataset.precompute([Shift(2.0)], tmp_path / "out")
    np.testing.assert_allclose(made.stored(3)["pos"], LMDBDataset(stored).stored(3)["pos"] + 3.0)
    with pytest.raises(ValueError, match="is stale"):
        LMDBDataset(stored).precompute([Shift(2.0)], tmp_path / "out")


def test_graphs_and_failing_transforms_raise(tmp_path, stored):
    graph = [PeriodicPropertiesTransform(3.0), PointCloudToGraphTransform("pyg")]
    with pytest.raises(
        ValueError, match=r"toy/000000: .*a graph cannot be stored; apply PointCloudToGraphTransform"
    ):
        LMDBDataset(stored).precompute(graph, tmp_path / "out")
    with pytest.raises(ValueError, match="toy/000000: Shift: "):
        LMDBDataset(stored).precompute([Shift("x")], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def edges(batch):
    """Return the edges of a batch and their distances, sorted, because the order of edges is not fixed."""
    graph = batch["graph"]
    rows = torch.cat([graph.edge_index.T, graph.images.long()], dim=1).tolist()
    distances = (graph.distances * 1e4).round().tolist()
    return sorted((*row, distance) for row, distance in zip(rows, distances, strict=True))


def test_precomputed_edges_equal_lazy_edges(tmp_path, stored):
    neighbors, graph = PeriodicPropertiesTransform(3.0), PointCloudToGraphTransform("pyg")
    made = LMDBDataset(stored).precompute([neighbors], tmp_path / "edges")
    batch = next(iter(MatSciMLDataModule(made, batch_size=4, transforms=[graph], seed=3).train_dataloader()))
    other = next(
        iter(
            MatSciMLDataModule(
                train_path=stored, batch_size=4, transforms=[neighbors, graph], seed=3
            ).train_dataloader()
        )
    )
    assert edges(batch) == edges(other)
    assert batch["sample_id"] == other["sample_id"]
    budget = MatSciMLDataModule(made, max_edges=400, transforms=[graph], seed=3)
    counts = [one["graph"].num_edges for one in budget.train_dataloader()]
    assert max(counts) <= 400
    assert len(counts) < 12


def test_fused_batches_equal_transformed_samples(stored):
    transforms = [Shift(0.5), PeriodicPropertiesTransform(4.0), PointCloudToGraphTransform("pyg")]
    data = MatSciMLDataModule(train_path=stored, batch_size=6, transforms=transforms, seed=5)
    loader = data.train_dataloader()
    assert isinstance(loader.collate_fn.collate, GraphCollate)
    part = data.parts["train"]
    by_name = {sample["sample_id"]: sample for sample in part}
    for batch in loader:
        wanted = collate_samples([by_name[name] for name in batch["sample_id"]])
        assert batch.keys() == wanted.keys()
        assert edges(batch) == edges(wanted)
        torch.testing.assert_close(batch["targets"], wanted["targets"])


def test_flat_cell_raises_in_loader(tmp_path):
    with LMDBWriter(tmp_path / "flat") as writer:
        for _ in range(3):
            writer.add(
                {"atomic_numbers": np.ones(2, int), "pos": np.eye(3)[:2], "cell": np.diag([3.0, 3, 0])}
            )
    transforms = [PeriodicPropertiesTransform(3.0), PointCloudToGraphTransform("pyg")]
    data = MatSciMLDataModule(train_path=tmp_path / "flat", transforms=transforms)
    with pytest.raises(ValueError, match="flat/00000"):
        next(iter(data.train_dataloader()))
