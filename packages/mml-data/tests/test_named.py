import pickle

import lmdb
import pytest
from mml_data import LiPSDataset, MaterialsProjectDataset, MatSciMLDataModule, named
from mml_data.convert import LEGACY_READERS
from mml_data.devsets import DEVSETS


def test_every_name_has_reader_and_devset():
    for name, dataset in named.NAMED_DATASETS.items():
        assert dataset.reader in LEGACY_READERS
        assert dataset.devset in DEVSETS
        assert getattr(named, name) is dataset
        assert name in named.__all__
    assert {each.reader for each in named.NAMED_DATASETS.values()} == set(LEGACY_READERS)


@pytest.mark.parametrize("dataset", ["MaterialsProjectDataset", MaterialsProjectDataset])
def test_data_module_accepts_names_and_classes(stored, dataset):
    data = MatSciMLDataModule(dataset, train_path=stored, batch_size=3)
    assert isinstance(data.parts["train"].dataset, MaterialsProjectDataset)
    assert len(data.parts["train"]) == 12


def test_older_arguments_are_accepted(stored):
    dataset = LiPSDataset(lmdb_root_path=str(stored), transforms=None, full_pairwise=True)
    assert len(pickle.loads(pickle.dumps(dataset))) == 20
    with pytest.raises(ValueError, match="LiPSDataset does not support full_pairwise=False"):
        LiPSDataset(stored, full_pairwise=False)


def test_unshipped_data_set_raises():
    with pytest.raises(
        ValueError,
        match=r"LiPSDataset requires train_path, .* not part of this package; .*MatSciMLDataModule\('emt'\)",
    ):
        MatSciMLDataModule.from_devset("LiPSDataset")
    assert len(MatSciMLDataModule.from_devset(dataset="emt").parts["train"]) > 1000


def test_older_pickles_raise(tmp_path):
    lmdb.open(str(tmp_path / "data.lmdb"), subdir=False).close()
    for path in (tmp_path, tmp_path / "data.lmdb"):
        with pytest.raises(
            ValueError, match=r"import them once with `matsciml data import .* --reader lips`"
        ):
            LiPSDataset(path)
