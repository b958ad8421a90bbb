from datetime import timedelta

import pytest
import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from mml_distributed.strategy import default_backend


@pytest.fixture(autouse=True)
def _keep_rank(monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", rank_zero_only.rank, raising=False)


def make_trainer(lightning, **kwargs):
    options = {"accelerator": "cpu", "devices": 1, "logger": False, "enable_checkpointing": False}
    return lightning.pl.Trainer(**(options | kwargs))


def test_trainer_uses_environment(lightning, launched, alone):
    launched(alone)
    for strategy in ("ddp_with_mpi", lightning.MPIDDPStrategy()):
        trainer = make_trainer(lightning, strategy=strategy)
        assert isinstance(trainer.strategy, lightning.MPIDDPStrategy)
        assert isinstance(trainer.strategy, lightning.pl.strategies.DDPStrategy)
        assert type(trainer.strategy.cluster_environment) is lightning.MPIEnvironment
        assert trainer.world_size == 1


def test_trainer_requires_launcher(lightning, launched):
    with pytest.raises(
        RuntimeError, match=r"No MPI launcher started this process.*mpirun -n 2 python train.py"
    ):
        make_trainer(lightning, strategy="ddp_with_mpi")


def test_every_rank_rejects_contradicting_trainer(lightning, launched, recorded):
    for env in recorded["intel_mpi_one_node"]["ranks"]:
        launched(env)
        with pytest.raises(ValueError, match="Pass devices=4, num_nodes=1"):
            make_trainer(lightning, strategy="ddp_with_mpi", devices=2)


def test_trainer_knows_rank_before_start(lightning, launched, recorded):
    launched(recorded["open_mpi_two_nodes_round_robin"]["ranks"][3] | {"MASTER_ADDR": "n0"})
    trainer = make_trainer(lightning, strategy="ddp_with_mpi", devices=2, num_nodes=2)
    assert (trainer.global_rank, trainer.local_rank, trainer.world_size) == (3, 1, 4)
    assert trainer.strategy.distributed_sampler_kwargs == {"num_replicas": 4, "rank": 3}
    assert rank_zero_only.rank == 3


@pytest.mark.parametrize(
    ("options", "backend", "timeout"),
    [
        ({}, "gloo", timedelta(minutes=30)),
        ({"process_group_backend": "mpi", "timeout": timedelta(seconds=7)}, "mpi", timedelta(seconds=7)),
    ],
)
def test_backend_and_timeout_reach_torch(lightning, launched, alone, monkeypatch, options, backend, timeout):
    launched(alone)
    started = []
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *a, **k: started.append((a, k)))
    trainer = make_trainer(lightning, strategy=lightning.MPIDDPStrategy(**options))
    trainer.strategy.setup_environment()
    ((args, kwargs),) = started
    assert args == (backend,)
    assert kwargs["timeout"] == timeout
    assert (kwargs["rank"], kwargs["world_size"]) == (0, 1)


def test_default_backend_matches_device(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_xccl_available", lambda: True)
    backends = {kind: default_backend(torch.device(kind)) for kind in ("cpu", "cuda", "xpu", "mps")}
    assert backends == {"cpu": "gloo", "cuda": "nccl", "xpu": "xccl", "mps": "gloo"}
    monkeypatch.setattr(torch.distributed, "is_xccl_available", lambda: False)
    with pytest.raises(RuntimeError, match=r"does not have xccl.*--torch-backend=xpu"):
        default_backend(torch.device("xpu"))


def test_setup_model_opens_no_cuda_stream_for_xpu(lightning, launched, alone, monkeypatch):
    launched(alone)
    strategy = lightning.MPIDDPStrategy(parallel_devices=[torch.device("xpu", 0)], bucket_cap_mb=3)
    wrapped = []
    monkeypatch.setattr(
        "mml_distributed.strategy.DistributedDataParallel", lambda **kwargs: wrapped.append(kwargs)
    )
    monkeypatch.setattr(torch.cuda, "Stream", lambda: pytest.fail("a CUDA stream on an Intel GPU"))
    model = torch.nn.Linear(1, 1)
    strategy._setup_model(model)
    assert wrapped == [{"module": model, "device_ids": [0], "bucket_cap_mb": 3}]


def test_ddp_with_xpu_requires_xpu_accelerator(lightning, launched, alone):
    launched(alone)
    with pytest.raises(
        ValueError, match=r"requires accelerator 'xpu', got 'cpu'. Pass accelerator='xpu' .*import mml_xpu"
    ):
        make_trainer(lightning, strategy="ddp_with_xpu")


def test_ddp_with_xpu_accepts_xpu_accelerator(lightning, launched, alone):
    class CPUsCalledXPU(lightning.pl.accelerators.CPUAccelerator):
        @staticmethod
        def name():
            return "xpu"

    launched(alone)
    trainer = make_trainer(lightning, accelerator=CPUsCalledXPU(), strategy="ddp_with_xpu")
    assert trainer.strategy._get_process_group_backend() == "gloo"


def test_strategy_rejects_start_method(lightning, launched, alone):
    launched(alone)
    with pytest.raises(
        ValueError,
        match="start_method='spawn' is not supported, because the MPI launcher starts the processes",
    ):
        lightning.MPIDDPStrategy(start_method="spawn")
