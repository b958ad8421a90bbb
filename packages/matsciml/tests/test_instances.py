import pytest
from matsciml.runs.instances import instantiate


def test_instance_gets_arguments():
    made = instantiate({"class_path": "fractions.Fraction", "init_args": {"numerator": 6}}, "here")
    assert made == 6
    assert instantiate({"class_path": "collections.OrderedDict"}, "here") == {}


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (3, "here: 3 does not describe a transform; expected a mapping with class_path"),
        ({"class_path": "Nothing"}, "does not describe a transform"),
        ({"class_path": "nowhere.Nothing"}, r"here: nowhere\.Nothing: No module named 'nowhere'"),
        ({"class_path": "math.nothing"}, r"here: math\.nothing: module 'math' has no attribute"),
        ({"class_path": "datetime.date"}, r"here: datetime\.date: .*missing required argument|required"),
    ],
)
def test_invalid_description_raises(item, message):
    with pytest.raises(ValueError, match=message):
        instantiate(item, "here")
