"""Reports of jsonargparse and the sentences that they are converted to."""

import pytest
from matsciml.runs.config_errors import explain

TREE = """Parser key "model":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'pytorch_lightning.core.module.LightningModule'>, <class 'NoneType'>]
  Errors:
    - Problem with given class_path 'mml_tasks.ForceRegressionTask':
        {problem}
    - Expected a <class 'NoneType'>
  Given value type: <class 'dict'>
  Given value: {{'class_path': 'm.Model'}}"""
NESTED = """Parser key "encoder":
          Problem with given class_path 'mml_models.EGNN':
            Option 'hiden_dim' is not accepted"""


@pytest.mark.parametrize(
    ("report", "parts"),
    [
        (
            TREE.format(problem="Option 'lrr' is not accepted"),
            ["key model", "ForceRegressionTask", "mean 'lr'"],
        ),
        (TREE.format(problem=NESTED), ["key model.encoder", "mml_models.EGNN", "did you mean 'hidden_dim'?"]),
        (
            TREE.format(problem="Parser key \"lr\":\n          Expected a <class 'float'>. Got value: abc"),
            ["model.lr", "expected a float. Got value: abc"],
        ),
        (
            TREE.format(problem="module 'mml_tasks' has no attribute 'Force'"),
            ["key model", "has no attribute 'Force'"],
        ),
        (
            "Parser key \"trainer.max_epochs\":\n  Expected a <class 'int'>\n  Given value: two",
            ["trainer.max_epochs", "expected an int, got two"],
        ),
        (
            "Does not validate against any of the Union subtypes\n"
            "Subtypes: [<class 'a.B'>, <class 'NoneType'>]\n"
            "Errors:\n  - batch_size must be at least 1, it is 0\n  - Expected a <class 'NoneType'>\n"
            "Given value type: <class 'x'>\nGiven value: Namespace(class_path='m.D')",
            ["batch_size must be at least 1, it is 0"],
        ),
        ("Subcommand 'fit' does not accept option 'modle.a'", ["modle.a", "did you mean 'model'?"]),
        (
            "Subcommand 'fit' does not accept option 'trainer.max_epoch'",
            ["did you mean 'trainer.max_epochs'?"],
        ),
        ("unrecognized arguments: --nonsense=3 --more", ["--nonsense", "trainer, model, data"]),
        (
            "Parser key \"config\": File does not exist: 'missing.yaml'",
            ["config file 'missing.yaml' does not exist; pass an existing file"],
        ),
    ],
)
def test_report_becomes_one_sentence(report, parts):
    sentence = explain(report)
    assert "\n" not in sentence
    assert "Union" not in sentence
    assert "Given value" not in sentence
    for part in parts:
        assert part in sentence
