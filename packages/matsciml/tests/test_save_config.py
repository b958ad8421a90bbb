from hypothesis import given
from hypothesis import strategies as st
from matsciml.runs.save_config import changed

configs = st.recursive(
    st.integers(0, 2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=6,
)
mappings = st.dictionaries(st.sampled_from("xyz"), configs, max_size=3)


@given(mappings, mappings)
def test_changes_are_empty_only_for_equal_configs(before, now):
    # A missing key and None are the same in a config.
    assert bool(list(changed(before, now))) == (before != now)


def test_changes_name_keys():
    before = {"trainer": {"max_epochs": 1, "callbacks": [{"class_path": "A"}]}, "model": {"layers": [1, 2]}}
    now = {"trainer": {"max_epochs": 2, "callbacks": []}, "model": {"layers": [1, 3]}, "seed": 0}
    assert list(changed(before, now)) == [
        ("trainer.max_epochs", 1, 2),
        ("trainer.callbacks", ["A"], []),
        ("model.layers.1", 2, 3),
        ("seed", None, 0),
    ]
