import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_data import MatSciMLDataModule
from mml_data.loading.packing import PackedBatch, PackingCollate, unpacked
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from torch.utils.data import DataLoader

dtypes = st.sampled_from([torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool, torch.bfloat16])


@st.composite
def tensors(draw):
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    tensor = torch.randint(0, 2, shape).to(draw(dtypes))
    if tensor.dim() > 1 and draw(st.booleans()):
        tensor = tensor.transpose(0, 1)
    if tensor.dim() and tensor.shape[0] > 1 and draw(st.booleans()):
        tensor = tensor[1:]
    return tensor


batches = st.dictionaries(
    st.text(max_size=3),
    tensors() | st.text(max_size=4) | st.lists(tensors(), max_size=3) | st.none(),
    max_size=6,
)


def assert_same(left, right):
    assert type(left) is type(right)
    if isinstance(left, torch.Tensor):
        assert (left.dtype, left.shape) == (right.dtype, right.shape)
        assert torch.equal(left, right)
    elif isinstance(left, dict):
        assert list(left) == list(right)
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list):
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    else:
        assert left == right


@given(batches)
def test_unpacking_inverts_packing(batch):
    assert_same(batch, unpacked(PackedBatch.of(batch)))
    assert unpacked(batch) is batch


def test_unpacked_tensors_share_one_block():
    whole = torch.arange(10.0)
    batch = PackedBatch.of({"whole": whole, "part": whole[3:5], "other": torch.ones(3)}).unpack()
    batch["whole"][3] = -1
    assert batch["part"].tolist() == [-1, 4]
    assert len({tensor.untyped_storage().data_ptr() for tensor in batch.values()}) == 1
    assert whole[3] == 3


def test_packing_keeps_gradients():
    weight = torch.ones(2, requires_grad=True)
    batch = unpacked(PackedBatch.of({"weight": weight}))
    assert batch["weight"].requires_grad


def test_main_process_does_not_pack():
    assert PackingCollate(list)([1]) == [1]


@pytest.mark.parametrize("backend", ["pyg", "dgl"])
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_worker_batches_equal_main_process(stored, backend):
    if backend == "dgl":
        from mml_graphs.libraries.import_dgl import import_dgl

        try:
            import_dgl()
        except ImportError:
            pytest.skip("DGL is not installed")
    transforms = [PeriodicPropertiesTransform(4.0), PointCloudToGraphTransform(backend)]

    def batches(workers):
        data = MatSciMLDataModule(
            train_path=stored, batch_size=5, num_workers=workers, seed=1, transforms=transforms
        )
        return list(data.train_dataloader())

    for left, right in zip(batches(0), batches(2), strict=True):
        assert left.keys() == right.keys()
        assert left["sample_id"] == right["sample_id"]
        for key, value in left.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, right[key]), key
        if backend == "pyg":
            assert left["graph"].keys() == right["graph"].keys()
            assert torch.equal(left["graph"].edge_index, right["graph"].edge_index)
            assert right["graph"].num_graphs == left["graph"].num_graphs
            blocks = {right[key].untyped_storage().data_ptr() for key in ("pos", "distances")}
            assert len(blocks) == 1


def test_plain_loader_packs():
    loader = DataLoader(range(4), batch_size=2, collate_fn=PackingCollate(torch.tensor))
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3]]
