import numpy as np
import pytest
from mml_data.store.brief import read_brief
from mml_data.store.packs import Record
from mml_data.store.records import decode_record, encode_record


def test_brief_has_values_of_summary(samples):
    for sample in samples:
        record = encode_record(sample)
        brief, full = read_brief(record), decode_record(record)
        if len(full["atomic_numbers"]) == 1:
            assert brief is None  # a free atom needs further values
            continue
        assert brief.num_atoms == len(full["atomic_numbers"])
        assert brief.num_edges is None
        assert brief.sample.keys() == {"atomic_numbers", "targets", "target_types"}
        for key in ("atomic_numbers", "target_types"):
            assert np.array_equal(brief.sample[key], full[key])
        for name, value in full["targets"].items():
            assert np.array_equal(brief.sample["targets"][name], value)


def test_form_depends_on_types_and_keys():
    atoms = {"atomic_numbers": np.array([1, 8], np.uint8), "pos": np.zeros((2, 3))}
    variants = [
        {"targets": {"a": 1.0}},
        {"targets": {"a": 1}},
        {"targets": {"b": 1.0}},
        {"targets": {"a": 1.0}, "extra": {"note": "x"}},
        {"targets": {"a": 1.0}, "extra": {"note": 1}},
        {"src_nodes": np.zeros(3, np.int64)},
    ]
    forms = [read_brief(encode_record({**atoms, **variant})) for variant in variants]
    assert len({each.form for each in forms}) == len(variants)
    same = read_brief(encode_record({**atoms, "targets": {"a": 2.0}, "extra": {"note": "other"}}))
    assert same.form == forms[3].form
    assert forms[5].num_edges == 3
    assert forms[5].sample["targets"] == {}


def test_damaged_record_raises(samples):
    record = encode_record(samples[0])
    with pytest.raises(ValueError, match="the record is invalid"):
        read_brief(Record(record.layout, bytes(record.body)[:20]))
