"""Output head: a small network that maps an embedding to a target."""

from __future__ import annotations

from torch import Tensor, nn

from mml_tasks.hyperparameters import import_class


class OutputHead(nn.Module):
    """Multilayer perceptron, [..., input_dim] -> [..., output_dim].

    The weights of the last layer are initialized to small values and its bias to zero. In normalized units,
    training therefore starts at the mean of the data rather than at random outputs.

    Parameters
    ----------
    input_dim, output_dim
        Width of the embedding and of the output.
    hidden_dim
        Width of the hidden layers.
    num_hidden
        Number of hidden layers; 0 gives a linear map.
    activation
        Name of a class in ``torch.nn``, the import path of a class, or a class.
    last_layer_scale
        Factor applied to the initial weights of the last layer.

    Raises
    ------
    ValueError
        If a width is not positive or ``num_hidden`` is negative.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        hidden_dim: int = 64,
        num_hidden: int = 1,
        activation: str | type[nn.Module] = "SiLU",
        last_layer_scale: float = 0.1,
    ) -> None:
        super().__init__()
        if min(input_dim, output_dim, hidden_dim) < 1 or num_hidden < 0:
            raise ValueError(
                "the widths of an output head must be positive and num_hidden must not be negative, got "
                f"{input_dim=}, {output_dim=}, {hidden_dim=}, {num_hidden=}"
            )
        make_activation = _activation_class(activation)
        layers: list[nn.Module] = []
        width = input_dim
        for _ in range(num_hidden):
            layers += [nn.Linear(width, hidden_dim), make_activation()]
            width = hidden_dim
        last = nn.Linear(width, output_dim)
        last.weight.data.mul_(last_layer_scale)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, embedding: Tensor) -> Tensor:
        """Map embeddings [..., input_dim] to outputs [..., output_dim]."""
        return self.layers(embedding)


def _activation_class(activation: str | type[nn.Module]) -> type[nn.Module]:
    if isinstance(activation, str):
        return import_class(activation, "activation", nn.Module, default_module="torch.nn")
    return activation
