import json
import subprocess
import sys

import pytest
from mml_data.ranks import Ranks

RANK = """
import json
import sys
import torch.distributed as dist
from mml_data.ranks import Ranks

number = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=number, world_size=2)
ranks = Ranks()


def fail_on_one():
    if ranks.rank == 1:
        raise ValueError("bad part")


errors = []
for call in (ranks.each, ranks.first):
    try:
        call(fail_on_one)
    except ValueError as error:
        errors.append(str(error))
print(json.dumps([ranks.each(lambda: ranks.rank), ranks.first(lambda: ranks.rank), errors]))
dist.destroy_process_group()
"""


def test_process_without_group_is_one_rank():
    ranks = Ranks()
    assert (ranks.rank, ranks.size) == (0, 1)
    assert ranks.each(lambda: "a") == ["a"]
    assert ranks.first(lambda: "b") == "b"
    with pytest.raises(ZeroDivisionError):
        ranks.each(lambda: 1 / 0)


def test_ranks_share_results_and_errors(tmp_path):
    children = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(number), str(tmp_path / "meeting")],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    for child in children:
        output, _ = child.communicate(timeout=120)
        assert child.returncode == 0
        # Older versions of torch print a line before.
        assert json.loads(output.splitlines()[-1]) == [[0, 1], 0, ["bad part"]]
