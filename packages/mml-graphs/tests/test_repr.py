from mml_graphs._repr import pasteable_repr


class Scale:
    def __init__(self, factor, name="pos"):
        self.factor = factor
        self.name = name


def test_repr_is_a_constructor_call():
    text = pasteable_repr(Scale(2.0, name="cell"))
    assert text == "Scale(factor=2.0, name='cell')"
    assert vars(eval(text)) == {"factor": 2.0, "name": "cell"}
