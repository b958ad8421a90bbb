from mml_samples import EDGE_KEYS, GEOMETRY_KEYS, LATTICE_KEYS, SAMPLE_KEYS, Sample


def test_groups_are_keys_of_sample():
    assert {*EDGE_KEYS, *GEOMETRY_KEYS, *LATTICE_KEYS} < set(SAMPLE_KEYS) == set(Sample.__annotations__)
