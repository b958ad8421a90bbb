import pytest
import torch
from mml_tasks import ForceRegressionTask, ScalarRegressionTask
from mml_tasks.testing import ToyEncoder, random_structure, toy_batch, toy_graph


class Summing(ToyEncoder):
    """Toy encoder whose system embedding grows with the structure."""

    def forward(self, batch):
        embeddings = super().forward(batch)
        natoms = batch["graph"].natoms.view(-1, 1)
        return embeddings._replace(system_embedding=embeddings.system_embedding * natoms)


def outputs(readout: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the outputs of a cell and of its supercell."""
    torch.manual_seed(0)
    task = ScalarRegressionTask(Summing(), task_keys=["band_gap"], readout=readout).double()  # type: ignore[arg-type]
    numbers, pos, cell = random_structure(4)
    double = torch.diag(torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64)) @ cell
    supercell = toy_graph(numbers.repeat(2), torch.cat([pos, pos + cell[1]]), double)
    small, large = task(toy_batch([toy_graph(numbers, pos, cell), supercell]))["band_gap"]
    return small, large


def test_mean_readout_is_intensive():
    small, large = outputs("mean")
    torch.testing.assert_close(small, large)


def test_system_readout_is_system_embedding():
    small, large = outputs("system")
    assert (small - large).abs() > 1e-4


def test_sum_readout_is_extensive():
    torch.manual_seed(0)
    task = ScalarRegressionTask(
        ToyEncoder(), task_keys=["band_gap"], readout="sum", output_kwargs={"num_hidden": 0}
    ).double()
    numbers, pos, cell = random_structure(4)
    double = torch.diag(torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64)) @ cell
    supercell = toy_graph(numbers.repeat(2), torch.cat([pos, pos + cell[1]]), double)
    small, large = task(toy_batch([toy_graph(numbers, pos, cell), supercell]))["band_gap"]
    torch.testing.assert_close(2 * small, large)  # a linear head whose bias starts at zero


@pytest.mark.parametrize("kind", ["sum", "mean"])
def test_older_argument_sets_readout(kind):
    task = ScalarRegressionTask(ToyEncoder(), embedding_reduction_type=kind)
    assert task.readout == kind
    assert ScalarRegressionTask(ToyEncoder(), readout=kind, embedding_reduction_type=kind).readout == kind


def test_unknown_readout_is_refused():
    with pytest.raises(ValueError, match=r"readout must be one of \['mean', 'sum', 'system'\], got 'max'"):
        ScalarRegressionTask(ToyEncoder(), readout="max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"readout='system' and embedding_reduction_type='sum' contradict"):
        ScalarRegressionTask(ToyEncoder(), readout="system", embedding_reduction_type="sum")
    with pytest.raises(
        ValueError, match=r"of ScalarRegressionTask must be one of \['sum', 'mean'\], got 'max'"
    ):
        ScalarRegressionTask(ToyEncoder(), embedding_reduction_type="max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"of ForceRegressionTask must be one of \['sum'\], got 'mean'"):
        ForceRegressionTask(ToyEncoder(), embedding_reduction_type="mean")
