"""Fit a model on one or two CPU devices of an XPUAccelerator. test_ddp.py runs this script.

    python two_rank_fit.py pytorch_lightning|lightning DEVICES FOLDER

Each rank writes its results to FOLDER/DEVICES-RANK.json.
"""

import importlib.util
import json
import sys
from importlib import import_module
from pathlib import Path

import torch

_, root, devices, folder = sys.argv
_spec = importlib.util.spec_from_file_location("xpu_stand_in", Path(__file__).with_name("xpu_stand_in.py"))
xpu_stand_in = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(xpu_stand_in)
pl = import_module("lightning.pytorch" if root == "lightning" else root)
classes = import_module(f"mml_xpu.for_{root}")
torch.xpu = xpu_stand_in.XPUStandIn(2)
hook_calls = 0


def counted_allreduce(state, bucket):
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

    global hook_calls
    hook_calls += 1
    return allreduce_hook(None, bucket)


class CPUAsXPU(xpu_stand_in.CPUDevices, classes.XPUAccelerator):
    pass


class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)
        self.losses, self.samples = [], []

    def training_step(self, batch, batch_idx):
        self.samples += batch[:, 0].tolist()
        loss = (self.layer(batch) - batch.sum(1, keepdim=True)).square().mean()
        self.losses.append(loss.item())
        return loss

    def train_dataloader(self):
        # Each of two ranks takes every second sample. Both batches together equal that of one process.
        shard = data[self.global_rank :: int(devices)]
        return torch.utils.data.DataLoader(shard, batch_size=8 // int(devices))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


torch.manual_seed(7)
model = Model()
data = torch.rand(16, 3, generator=torch.Generator().manual_seed(1))
strategy = classes.DDPXPUStrategy(ddp_comm_hook=counted_allreduce) if devices == "2" else "single_xpu"
trainer = pl.Trainer(
    accelerator=CPUAsXPU(),
    devices=int(devices),
    strategy=strategy,
    max_epochs=1,
    default_root_dir=folder,
    logger=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    enable_checkpointing=False,
    use_distributed_sampler=False,
)
trainer.fit(model)
trainer.save_checkpoint(Path(folder, f"{devices}.ckpt"))
result = {
    "strategy": type(trainer.strategy).__name__,
    "backend": torch.distributed.get_backend() if devices == "2" else None,
    "parameters": [value for p in model.parameters() for value in p.flatten().tolist()],
    "losses": model.losses,
    "samples": model.samples,
    "hook_calls": hook_calls,
}
Path(folder, f"{devices}-{trainer.global_rank}.json").write_text(json.dumps(result), encoding="utf-8")
