"""Test the documented properties of the embedded data sets, and recompute their labels."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from mml_data import LMDBDataset, devset_path
from mml_data.devsets import DEVSETS

ROOT = Path(__file__).parents[3]
SCRIPTS = ROOT / "tools" / "devsets"
SPGLIB_WARNS = pytest.mark.filterwarnings("ignore:.*OLD_ERROR_HANDLING.*:DeprecationWarning")


@pytest.fixture(scope="module", params=list(DEVSETS))
def devset(request):
    return LMDBDataset(devset_path(request.param))


@pytest.fixture(scope="module")
def emt():
    return LMDBDataset(devset_path("emt"))


@pytest.fixture(scope="module")
def prototypes():
    return LMDBDataset(devset_path("prototypes"))


@pytest.fixture
def script(monkeypatch):
    """Import a script of tools/devsets by name."""
    if not SCRIPTS.is_dir():
        pytest.skip("the scripts that make the data sets are in the repository only")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    # The names of the scripts are too common to be left in sys.modules.
    for name in ("devset_build", "emt", "prototypes"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def load(name):
        needed = {"emt": ["ase"], "prototypes": ["ase", "spglib", "pymatgen.analysis.prototypes"]}
        for module in needed.get(name, []):
            pytest.importorskip(module, reason=f"{module}, of the dependency group devset, is missing")
        return __import__(name)

    yield load
    for name in ("devset_build", "emt", "prototypes"):
        sys.modules.pop(name, None)


def every_nth(dataset, count):
    return [dataset[i] for i in range(0, len(dataset), len(dataset) // count)]


def groups(dataset, key):
    """Return the set of values under ``extra`` for each split."""
    return {
        split: {dataset[int(i)]["extra"][key] for i in dataset.split_indices(split)}
        for split in dataset.splits
    }


def to_atoms(sample):
    ase = pytest.importorskip("ase", reason="ase recomputes the labels: it is in the dependency group devset")
    return ase.Atoms(
        sample["atomic_numbers"].numpy(),
        sample["pos"].double().numpy(),
        cell=sample["cell"][0].double().numpy(),
        pbc=True,
    )


class TestDevsetPath:
    def test_every_name_has_data_set(self, devset):
        devset.verify()
        assert devset.name in DEVSETS
        assert devset[0]["sample_id"] == f"{devset.name}/000000"

    def test_unknown_name_lists_known_ones(self):
        with pytest.raises(
            ValueError, match=r"'lips' is not an embedded data set; .* are 'emt', 'prototypes'"
        ):
            devset_path("lips")

    def test_descriptions_count_samples(self, devset):
        assert DEVSETS[devset.name].startswith(f"{len(devset):,} ")

    def test_files_fit_into_four_megabytes(self):
        files = [file for name in DEVSETS for file in devset_path(name).iterdir()]
        assert sum(file.stat().st_size for file in files) < 4e6

    def test_read_only_copy_verifies(self, tmp_path):
        path = shutil.copytree(devset_path("prototypes"), tmp_path / "installed")
        before = {file.name: file.read_bytes() for file in path.iterdir()}
        for file in [*path.iterdir(), path]:
            file.chmod(0o555 if file.is_dir() else 0o444)
        try:
            LMDBDataset(path).verify()
            assert {file.name: file.read_bytes() for file in path.iterdir()} == before
        finally:
            path.chmod(0o755)


class TestBoth:
    def test_splits_partition_samples(self, devset):
        indices = np.concatenate([devset.split_indices(split) for split in ("train", "val", "test")])
        assert sorted(indices) == list(range(len(devset)))
        assert set(devset.splits) == {"train", "val", "test"}

    def test_structures_are_small_periodic_and_unique(self, devset):
        seen = set()
        for sample in (devset[i] for i in range(len(devset))):
            assert 2 <= len(sample["atomic_numbers"]) <= 64
            assert sample["pbc"].all()
            assert abs(np.linalg.det(sample["cell"][0].numpy())) > 1
            seen.add(b"".join(sample[key].numpy().tobytes() for key in ("atomic_numbers", "pos", "cell")))
        assert len(seen) == len(devset)

    def test_target_types_name_every_target(self, devset):
        for sample in every_nth(devset, 20):
            types = sample["target_types"]
            assert sorted(types["regression"] + types["classification"]) == sorted(sample["targets"])

    def test_manifest_names_origin(self, devset):
        source = devset.manifest.source
        assert source["origin"] == f"tools/devsets/{devset.name}.py"
        assert ("toy potential" if devset.name == "emt" else "not measured") in source["notes"]

    @SPGLIB_WARNS
    def test_script_reproduces_samples(self, devset, script):
        module = script(devset.name)
        if devset.name == "emt":
            remade = [module.make_sample(("Cu",), 5), module.make_sample(("Pd", "Ag", "Pt"), 23)]
            first = next(i for i in range(len(devset)) if devset[i]["extra"]["family"] == "Cu")
            places = [first + 5, len(devset) - 1]
        else:
            index, chosen = next(
                (i, p) for i, p in enumerate(module.prototypes()) if p.label == "AB_cF8_225_a_b"
            )
            remade = [module.make_sample(chosen, atoms) for atoms in module.decorations(chosen, index)]
            labels = [devset[i]["extra"]["prototype"] for i in range(len(devset))]
            places = [labels.index(chosen.label) + i for i in range(len(remade))]
        for place, sample in zip(places, remade, strict=True):
            stored = devset[place]
            assert stored["extra"] == sample["extra"]
            for key in ("atomic_numbers", "pos", "cell"):
                np.testing.assert_array_equal(stored[key].numpy(), sample[key])
            for name, value in sample["targets"].items():
                np.testing.assert_array_equal(
                    stored["targets"][name].numpy(), np.asarray(value, stored["targets"][name].numpy().dtype)
                )


class TestEMT:
    def test_data_set_is_large_enough(self, emt):
        assert len(emt) >= 1000
        assert emt.splits["test"] / len(emt) == pytest.approx(0.15, abs=0.03)
        assert emt.splits["val"] / len(emt) == pytest.approx(0.10, abs=0.03)

    def test_families_name_elements(self, emt):
        from mml_samples import SYMBOLS

        for i in range(len(emt)):
            sample = emt[i]
            elements = {SYMBOLS[number] for number in sample["atomic_numbers"].tolist()}
            assert elements == set(sample["extra"]["family"].split("-"))

    def test_splits_share_no_family(self, emt):
        families = {
            split: {frozenset(f.split("-")) for f in found} for split, found in groups(emt, "family").items()
        }
        assert not families["train"] & families["val"]
        assert not families["train"] & families["test"]
        assert not families["val"] & families["test"]

    def test_training_split_sees_elements_not_pairs(self, emt):
        families = {
            split: [set(f.split("-")) for f in found] for split, found in groups(emt, "family").items()
        }
        seen = set.union(*families["train"])
        for split in ("val", "test"):
            assert set.union(*families[split]) <= seen
            for pair in (family for family in families[split] if len(family) == 2):
                assert not any(pair <= family for family in families["train"])

    def test_splits_cover_elements_and_prototypes(self, emt):
        assert set(emt.manifest.statistics["train"]["elements"]) == {"Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au"}
        for split, found in groups(emt, "prototype").items():
            assert found == {"fcc", "bcc", "L1_2", "L1_0", "B2"}, split

    def test_labels_vary(self, emt):
        largest = [float(emt[i]["targets"]["force"].abs().max()) for i in range(len(emt))]
        assert np.mean(np.array(largest) > 0.05) > 0.85
        for split in emt.splits:
            targets = emt.manifest.statistics[split]["targets"]
            assert targets["energy"]["per_atom_std"] > 0.1
            assert targets["force"]["std"] > 0.5

    def test_labels_equal_calculator(self, emt):
        for sample in every_nth(emt, 12):
            atoms = to_atoms(sample)
            from ase.calculators.emt import EMT

            atoms.calc = EMT()
            targets = {name: value.double().numpy() for name, value in sample["targets"].items()}
            assert targets["energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
            np.testing.assert_allclose(targets["force"], atoms.get_forces(), atol=2e-5)
            np.testing.assert_allclose(targets["stress"], atoms.get_stress(voigt=False)[None], atol=2e-7)

    def test_labels_equal_supercell(self, emt):
        """Atoms of small cells interact with their own images. The calculator must count all of them."""
        smallest = sorted(every_nth(emt, 60), key=lambda sample: len(sample["pos"]))[:4]
        for sample in smallest:
            atoms = to_atoms(sample) * (3, 3, 3)
            from ase.calculators.emt import EMT

            atoms.calc = EMT()
            num_atoms = len(sample["pos"])
            assert float(sample["targets"]["energy"]) * 27 == pytest.approx(
                atoms.get_potential_energy(), abs=1e-4
            )
            np.testing.assert_allclose(sample["targets"]["force"], atoms.get_forces()[:num_atoms], atol=2e-5)

    def test_force_and_stress_equal_energy_derivatives(self, emt):
        def energy(atoms):
            from ase.calculators.emt import EMT

            atoms.calc = EMT()
            return atoms.get_potential_energy()

        step = 1e-4
        checked = [sample for sample in every_nth(emt, 40) if 2 < len(sample["pos"]) < 13][:4]
        assert len(checked) == 4
        for sample in checked:
            for axis in range(3):
                moved = [to_atoms(sample), to_atoms(sample)]
                for sign, atoms in zip((1, -1), moved, strict=True):
                    atoms.positions[0, axis] += sign * step
                slope = (energy(moved[0]) - energy(moved[1])) / (2 * step)
                assert float(sample["targets"]["force"][0, axis]) == pytest.approx(-slope, abs=1e-4)
            for i, j in ((0, 0), (1, 2)):
                strained = [to_atoms(sample), to_atoms(sample)]
                for sign, atoms in zip((1, -1), strained, strict=True):
                    strain = np.zeros((3, 3))
                    strain[i, j] += sign * step / 2
                    strain[j, i] += sign * step / 2
                    atoms.set_cell(np.asarray(atoms.cell) @ (np.eye(3) + strain), scale_atoms=True)
                volume = to_atoms(sample).get_volume()
                slope = (energy(strained[0]) - energy(strained[1])) / (2 * step) / volume
                assert float(sample["targets"]["stress"][0, i, j]) == pytest.approx(slope, abs=1e-5)


class TestPrototypes:
    def test_data_set_is_large_enough(self, prototypes):
        assert len(prototypes) >= 500

    def test_splits_share_no_prototype(self, prototypes):
        found = groups(prototypes, "prototype")
        assert not found["train"] & found["val"]
        assert not found["train"] & found["test"]
        assert not found["val"] & found["test"]

    def test_training_split_has_all_crystal_systems(self, prototypes):
        names = prototypes.manifest.source["classes"]["crystal_system"]
        assert len(names) == 7
        assert prototypes.manifest.statistics["train"]["targets"]["crystal_system"]["classes"] == list(
            range(7)
        )

    @SPGLIB_WARNS
    def test_labels_equal_pymatgen(self, prototypes):
        core = pytest.importorskip("pymatgen.core", reason="pymatgen-core recomputes the labels")
        symmetry = pytest.importorskip("pymatgen.symmetry.analyzer")
        names = prototypes.manifest.source["classes"]["crystal_system"]
        for sample in every_nth(prototypes, 40):
            structure = core.Structure(
                core.Lattice(sample["cell"][0].double().numpy()),
                sample["atomic_numbers"].tolist(),
                sample["pos"].double().numpy(),
                coords_are_cartesian=True,
            )
            analyzer = symmetry.SpacegroupAnalyzer(structure, symprec=0.01)
            targets = sample["targets"]
            assert int(targets["space_group"]) == analyzer.get_space_group_number()
            assert names[int(targets["crystal_system"])] == analyzer.get_crystal_system()
            assert float(targets["density"]) == pytest.approx(structure.density, rel=1e-3)
            assert float(targets["volume_per_atom"]) == pytest.approx(
                structure.volume / len(structure), rel=1e-5
            )


class TestCheck:
    def test_differences_find_changes(self, script, tmp_path, stored):
        build = script("devset_build")
        copy = shutil.copytree(stored, tmp_path / "copy")
        assert build.differences(copy, stored) == []
        manifest = copy / "manifest.json"
        text = manifest.read_text()
        mean = LMDBDataset(stored).manifest.statistics["all"]["targets"]["energy"]["mean"]
        manifest.write_text(text.replace(repr(mean), repr(mean * (1 + 1e-13))))
        assert build.differences(copy, stored) == []
        manifest.write_text(text.replace(repr(mean), repr(mean * (1 + 1e-7))))
        assert build.differences(copy, stored) == ["manifest.json differs"]
        manifest.write_text(text)
        shard = copy / "shard-00001.lmdb"
        shard.write_bytes(shard.read_bytes()[:-1] + b"\xff")
        assert build.differences(copy, stored) == ["shard-00001.lmdb differs"]
        shard.unlink()
        assert "created ['manifest.json'" in build.differences(copy, stored)[0]
