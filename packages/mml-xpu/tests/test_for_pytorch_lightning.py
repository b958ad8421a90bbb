"""The classes for each Lightning package that is installed."""

import pickle


def test_classes_are_pickled_by_name(lightning):
    classes = lightning.classes
    for cls in (
        classes.SingleXPUStrategy,
        classes.DDPXPUStrategy,
        classes.XPUAccelerator,
        classes.PortableCheckpointIO,
    ):
        assert cls.__module__ == classes.__name__
        assert pickle.loads(pickle.dumps(cls)) is cls


def test_strategies_do_not_register_names_of_lightning(lightning):
    registry = type(lightning.StrategyRegistry)()
    lightning.DDPXPUStrategy.register_strategies(registry)
    assert registry == {}
    assert "ddp" in lightning.StrategyRegistry
