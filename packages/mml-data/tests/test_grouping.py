import numpy as np
import pytest
from mml_data import LMDBDataset, devset_path
from mml_data.grouping import composition, elements, grouping, prototype


def test_groups_have_names():
    salt = {"atomic_numbers": np.array([11, 17, 11, 17]), "pos": np.zeros((4, 3)), "sample_id": "salt"}
    assert (composition(salt), elements(salt)) == ("ClNa", "Cl-Na")
    assert composition({"atomic_numbers": np.array([13, 28, 28, 28])}) == "AlNi3"
    with pytest.raises(ValueError, match="salt' is not periodic in three dimensions"):
        prototype(salt)
    assert grouping("atomic_numbers")({"atomic_numbers": np.array([5])}) == "5"


@pytest.mark.parametrize("label", ["A-225-1", "A-229-1", "A-194-2"])
def test_prototype_ignores_cell_choice(label):
    bulk = pytest.importorskip("ase.build").bulk
    kind = {"A-225-1": ("Cu", "fcc", 3.6), "A-229-1": ("Fe", "bcc", 2.87), "A-194-2": ("Mg", "hcp", 3.2)}[
        label
    ]
    rng = np.random.default_rng(0)
    for times in ((1, 1, 1), (2, 1, 1), (2, 2, 2)):
        atoms = bulk(*kind).repeat(times)
        atoms.rotate(40, (1, 2, 3), rotate_cell=True)
        order = rng.permutation(len(atoms))
        sample = {
            "atomic_numbers": atoms.numbers[order],
            "pos": atoms.positions[order] + 0.3,
            "cell": np.array(atoms.cell)[None],
        }
        assert prototype(sample) == label


def test_embedded_data_set_has_few_prototypes():
    dataset = LMDBDataset(devset_path("prototypes"), indices=range(0, 1055, 25))
    labels = {prototype(dataset.stored(index)) for index in range(len(dataset))}
    assert 5 < len(labels) < len(dataset)
