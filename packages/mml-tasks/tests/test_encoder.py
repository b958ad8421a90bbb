from types import SimpleNamespace

import pytest
import torch
from mml_tasks import MultiTaskLitModule, ScalarRegressionTask
from mml_tasks.encoder import embed, make_encoder
from mml_tasks.testing import ToyEncoder
from torch import nn


def test_encoder_is_built_from_class_or_path():
    encoder = ToyEncoder()
    assert make_encoder(encoder, None, None) is encoder
    for encoder_class in (ToyEncoder, "mml_tasks.testing.ToyEncoder"):
        assert make_encoder(None, encoder_class, {"output_dim": 5}).output_dim == 5


def test_encoder_and_class_exclude_each_other():
    with pytest.raises(ValueError, match="either encoder or encoder_class, got neither"):
        make_encoder(None, None, None)
    with pytest.raises(ValueError, match="either encoder or encoder_class, got both"):
        make_encoder(ToyEncoder(), ToyEncoder, None)
    with pytest.raises(ValueError, match="encoder_kwargs requires encoder_class"):
        make_encoder(ToyEncoder(), None, {"output_dim": 5})


def test_invalid_encoders_are_refused():
    with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module, got function"):
        make_encoder(lambda batch: batch, None, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="encoder Linear has no integer 'output_dim'"):
        make_encoder(nn.Linear(1, 1), None, None)


class Returns(nn.Module):
    output_dim = 4

    def __init__(self, **embeddings):
        super().__init__()
        self.embeddings = SimpleNamespace(**embeddings)

    def forward(self, batch):
        return self.embeddings


@pytest.mark.parametrize("name", ["point_embedding", "system_embedding"])
def test_invalid_shapes_are_refused(batch, name):
    with pytest.raises(
        ValueError, match=rf"{name} of encoder Returns has shape \[3, 4\], expected \[\d+, 4\]"
    ):
        embed(Returns(**{name: torch.zeros(3, 4)}), batch, name)


def test_missing_embeddings_are_refused(batch):
    with pytest.raises(TypeError, match="returned a SimpleNamespace without 'point_embedding'"):
        embed(Returns(system_embedding=torch.zeros(5, 4)), batch, "point_embedding")


@pytest.mark.parametrize(
    "make", [ScalarRegressionTask, lambda e, **o: MultiTaskLitModule(("a", ScalarRegressionTask(e)), **o)]
)
def test_log_embeddings_names_callback(make):
    make(ToyEncoder(), log_embeddings=False, log_embeddings_every_n_steps=5)
    with pytest.raises(ValueError, match=r"Add the callback TrainingHelperCallback\(update_freq=5\)"):
        make(ToyEncoder(), log_embeddings=True, log_embeddings_every_n_steps=5)
