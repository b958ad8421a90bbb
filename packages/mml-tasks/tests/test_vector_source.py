import pytest
from mml_tasks.tasks.vector_source import choose_source, edge_cutoff
from torch import nn


class Encoder(nn.Module):
    def __init__(self, vector_dim=0, cutoff=None):
        super().__init__()
        self.vector_dim = vector_dim
        self.cutoff = cutoff


@pytest.mark.parametrize(("vectors", "expected"), [(0, "edges"), (4, "encoder")])
def test_auto_prefers_vectors_of_encoder(vectors, expected):
    assert choose_source(Encoder(vectors), "auto", ("auto", "encoder", "edges")) == expected
    assert choose_source(Encoder(vectors), "edges", ("auto", "encoder", "edges")) == "edges"


def test_invalid_sources_raise():
    with pytest.raises(ValueError, match=r"vector_source must be one of \['auto', 'edges'\], got 'charges'"):
        choose_source(Encoder(), "charges", ("auto", "edges"))
    with pytest.raises(ValueError, match="requires an encoder with a vector_dim, but Encoder has none"):
        choose_source(Encoder(), "encoder", ("auto", "encoder"))


def test_cutoff_of_encoder_is_default():
    assert edge_cutoff(Encoder(cutoff=5), None) == 5.0
    assert edge_cutoff(Encoder(cutoff=5), 4) == 4.0
    for cutoff in (None, 0, -1):
        with pytest.raises(ValueError, match="requires a positive cutoff, but encoder Encoder has cutoff="):
            edge_cutoff(Encoder(), cutoff)
