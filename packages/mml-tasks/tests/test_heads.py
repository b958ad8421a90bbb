import pytest
import torch
from mml_tasks import OutputHead
from torch import nn


def test_head_has_requested_layers():
    head = OutputHead(8, 3, hidden_dim=16, num_hidden=2, activation="Tanh")
    widths = [
        (layer.in_features, layer.out_features) for layer in head.layers if isinstance(layer, nn.Linear)
    ]
    assert widths == [(8, 16), (16, 16), (16, 3)]
    assert sum(isinstance(layer, nn.Tanh) for layer in head.layers) == 2
    assert head(torch.randn(5, 4, 8)).shape == (5, 4, 3)


def test_training_starts_near_zero():
    torch.manual_seed(0)
    x = torch.randn(200, 64)
    outputs = OutputHead(64, 1)(x)
    assert outputs.abs().max() < 0.1 * OutputHead(64, 1, last_layer_scale=10.0)(x).abs().max()
    torch.testing.assert_close(OutputHead(64, 1, last_layer_scale=0.0)(x), torch.zeros(200, 1))


@pytest.mark.parametrize("activation", ["SiLU", "torch.nn.SiLU", nn.SiLU])
def test_activation_accepts_name_path_or_class(activation):
    assert isinstance(OutputHead(4, 1, activation=activation).layers[1], nn.SiLU)


def test_invalid_sizes_are_refused():
    with pytest.raises(ValueError, match="hidden_dim=0"):
        OutputHead(4, 1, hidden_dim=0)
    with pytest.raises(ValueError, match="num_hidden=-1"):
        OutputHead(4, 1, num_hidden=-1)


def test_unknown_activation_is_refused():
    with pytest.raises(
        ValueError, match=r"activation='SiLu' is not a class, because torch\.nn has no class 'SiLu'"
    ):
        OutputHead(4, 1, activation="SiLu")
