import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_distributed.launchers import expand_tasks_per_node, first_node, read_launch


def test_read_launch_reads_recorded_launches(recording):
    for rank, env in enumerate(recording["ranks"]):
        launch = read_launch(env, [])
        assert launch.launcher == recording["launcher"]
        assert (launch.rank, launch.size) == (rank, 4)
        assert [launch.local_rank, launch.local_size, launch.node_rank] == recording["expected"][rank]
        assert launch.one_node == (recording["expected"][rank][1] == 4)


def test_read_launch_does_not_compute_local_ranks(recorded):
    """A placement seen with Open MPI. Computing it as rank % local_size would give 0, 1, 2, 3."""
    env = recorded["open_mpi_one_node"]["ranks"]
    assert [read_launch(one, []).local_rank for one in env] == [0, 2, 1, 3]


def test_job_is_equal_on_all_ranks(recording):
    jobs = {read_launch(env, []).job for env in recording["ranks"]}
    assert len(jobs) == 1


@pytest.mark.parametrize("step", [None, "4294967290", "4294967291", "4294967292"])
def test_slurm_batch_script_is_not_a_launch(recorded, step):
    env = dict(recorded["slurm_one_node"]["ranks"][0])
    del env["SLURM_STEP_ID"]
    if step is not None:
        env["SLURM_STEP_ID"] = step
    with pytest.raises(
        RuntimeError, match=r"No MPI launcher started this process.*mpirun or srun \(the script"
    ):
        read_launch(env, [])


def test_read_launch_requires_launcher():
    with pytest.raises(RuntimeError, match=r"Start it with mpirun, such as `mpirun -n 2 python train.py`"):
        read_launch({"PATH": "/bin"}, [])


PAIRS = [
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", {}),
    ("PMI_RANK", "PMI_SIZE", {}),
    ("SLURM_PROCID", "SLURM_NTASKS", {"SLURM_STEP_ID": "0"}),
]


@pytest.mark.parametrize(("rank", "size", "more"), PAIRS)
def test_read_launch_requires_rank_and_size(rank, size, more):
    with pytest.raises(ValueError, match=f"{rank}='1' is set, but {size} is not.*mpirun, or unset {rank}"):
        read_launch({rank: "1", **more}, [])
    with pytest.raises(ValueError, match=f"{size}='2' is set, but {rank} is not"):
        read_launch({size: "2", **more}, [])


def test_read_launch_rejects_pals_without_size(tmp_path):
    for more in ({}, {"PALS_APINFO": str(tmp_path / "none")}):
        with pytest.raises(
            ValueError, match=r"PALS_RANKID='1' is set, but PMI_SIZE is not.*mpiexec --pmi=cray"
        ):
            read_launch({"PALS_RANKID": "1", "PALS_LOCAL_RANKID": "1", "PALS_NODEID": "0", **more}, [])


name_parts = st.lists(st.tuples(st.text("abn-", max_size=3), st.integers(0, 99)), min_size=1, max_size=2)


@given(parts=name_parts, width=st.integers(1, 4), more=st.sampled_from(["", "-120", ",200", "-120,150"]))
def test_first_node_of_any_slurm_list_is_read(parts, width, more):
    plain = "".join(f"{letters}{number:0{width}}" for letters, number in parts)
    short = "".join(f"{letters}[{number:0{width}}{more}]" for letters, number in parts)
    for others in ("", ",m[1-2],k"):
        assert first_node(short + others) == first_node(plain + others) == plain


def test_first_node_of_slurm_list_is_read():
    assert first_node("") is None
    assert first_node("rack[0-1]n[3,5],login") == "rack0n3"
    assert first_node("nid[000001-000128]") == "nid000001"


def test_first_host_is_unknown_for_user_placement(recorded):
    env = recorded["slurm_with_cray_pmi"]["ranks"][0]
    assert read_launch({**env, "SLURM_DISTRIBUTION": "arbitrary"}, ["slurmstepd"]).first_host is None


not_integers = st.text(st.characters(blacklist_characters="\0"), max_size=6).filter(
    lambda text: not (text.lstrip("-").isdecimal() and text.isascii())
)


@given(value=not_integers, data=st.data())
def test_read_launch_names_invalid_number(value, data):
    env = {"PMI_RANK": "0", "PMI_SIZE": "2", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "2"}
    name = data.draw(st.sampled_from(sorted(env)))
    with pytest.raises(ValueError, match=f"^{name} must be an integer"):
        read_launch({**env, name: value}, [])


@given(rank=st.integers(-3, 8), size=st.integers(-1, 6))
def test_read_launch_rejects_rank_beyond_size(rank, size):
    env = {"PMI_RANK": str(rank), "PMI_SIZE": str(size), "MPI_LOCALRANKID": "0"}
    if 0 <= rank < size:
        assert (read_launch(env, []).rank, read_launch(env, []).size) == (rank, size)
    else:
        with pytest.raises(ValueError, match=f"PMI_RANK={rank} of {size}: the rank must be between 0 and"):
            read_launch(env, [])


@given(runs=st.lists(st.tuples(st.integers(1, 99), st.integers(1, 4)), min_size=1, max_size=5))
def test_slurm_counts_round_trip(runs):
    text = ",".join(f"{count}(x{times})" if times > 1 else f"{count}" for count, times in runs)
    assert expand_tasks_per_node(text) == [count for count, times in runs for _ in range(times)]


@pytest.mark.parametrize("text", ["", "2(x)", "2x3", "2,,3", "two"])
def test_slurm_counts_reject_other_form(text):
    with pytest.raises(ValueError, match="SLURM_STEP_TASKS_PER_NODE must have the form"):
        expand_tasks_per_node(text)


def test_read_launch_rejects_uncounted_node(recorded):
    env = {**recorded["slurm_one_node"]["ranks"][0], "SLURM_NODEID": "1"}
    with pytest.raises(
        ValueError, match="SLURM_NODEID=1 contradicts SLURM_STEP_TASKS_PER_NODE='4', which lists 1 node"
    ):
        read_launch(env, [])
