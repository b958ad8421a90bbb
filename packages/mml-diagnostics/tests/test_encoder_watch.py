"""Checks of the encoder's output at one call."""

from types import SimpleNamespace

import pytest
import torch
from mml_diagnostics.batch_view import view_batch
from mml_diagnostics.checks.encoder_watch import EncoderWatch
from mml_diagnostics.checks.runner import CheckRunner
from torch import nn


@pytest.fixture
def watched():
    """An EncoderWatch, and the problems that its checks found."""
    runner, problems = CheckRunner(), []
    watch = EncoderWatch(runner, lambda name, check, *args: problems.extend(runner.run(name, check, *args)))
    return SimpleNamespace(watch=watch, runner=runner, problems=problems)


class Returns(nn.Module):
    """Encoder that returns its input."""

    def forward(self, output):
        return output


def arm(watched, encoder, view=None, ids=None):
    watched.watch.arm(encoder, lambda module, args, output: watched.watch.look(output), view, ids)


def test_large_embeddings_name_structure_and_atom(watched, samples, make_batch):
    batch = make_batch(samples[:4])  # 4, 5, 6, 4 atoms
    system, point = torch.randn(4, 8), torch.randn(19, 8)
    system[2] *= 1e6
    point[4 + 3] *= 1e6
    encoder = Returns()
    arm(watched, encoder, view_batch(batch), batch["sample_id"])
    encoder(SimpleNamespace(system_embedding=system, point_embedding=point))
    texts = {p.where: p.message for p in watched.problems if p.check == "exploding_embeddings"}
    assert "sample 'test/000002'" in texts["system embedding"]
    assert "atom 3 of sample 'test/000001'" in texts["point embedding"]
    assert torch.equal(watched.watch.embeddings["point"], point)


def test_only_first_call_is_checked(watched):
    encoder = Returns()
    arm(watched, encoder)
    encoder(first := torch.randn(8, 4))
    assert not encoder._forward_hooks
    encoder(torch.full((8, 4), torch.nan))
    assert watched.problems == []
    assert torch.equal(watched.watch.embeddings["system"], first)
    watched.watch.forget()
    assert watched.watch.embeddings == {}


def test_arm_replaces_previous_hook(watched):
    encoder = Returns()
    for _ in range(2):
        arm(watched, encoder)
    assert len(encoder._forward_hooks) == 1
    watched.watch.remove()
    assert not encoder._forward_hooks


def test_output_without_embeddings_is_skipped(watched):
    encoder = Returns()
    arm(watched, encoder)
    encoder({"energy": torch.ones(4)})
    (skipped,) = watched.runner.new_skips()
    assert "has no system_embedding or point_embedding matrix" in skipped.message
