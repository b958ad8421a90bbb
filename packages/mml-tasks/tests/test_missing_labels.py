import torch
from mml_tasks.losses.missing_labels import MissingLabels

NAN = torch.nan


def test_rows_without_a_label_are_counted_by_target_and_forgotten():
    missing = MissingLabels()
    missing.add("energy", torch.tensor([[1.0], [NAN]]))
    missing.add("energy", torch.tensor([[NAN]]))
    missing.add("force", torch.tensor([[1.0, NAN, NAN], [1.0, 2.0, 3.0]]))  # one atom, not two numbers
    missing.add("gap", torch.tensor([NAN, 1.0]))
    missing.add("label", torch.tensor([0, 1, 2]))
    keys, cpu = ["energy", "force", "gap", "label", "other"], torch.device("cpu")
    assert missing.take(keys, cpu) == {
        "energy": (2, 3),
        "force": (1, 2),
        "gap": (1, 2),
        "label": (0, 3),
        "other": (0, 0),
    }
    assert missing.take(["energy"], cpu) == {"energy": (0, 0)}
