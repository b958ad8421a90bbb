"""Help texts of the commands that train or evaluate: their main options, in 80 columns."""

from __future__ import annotations

_ABOUT = {
    "fit": """\
usage: matsciml fit [--config FILE] [options]

Train a model, evaluate it on the test split and write a report.
Without --config, train energies and forces of the embedded data set.""",
    "validate": """\
usage: matsciml validate [--name NAME] [--ckpt_path PATH] [options]

Evaluate the best checkpoint of a run on the validation split of its data.""",
    "test": """\
usage: matsciml test [--name NAME] [--ckpt_path PATH] [options]

Evaluate the best checkpoint of a run on the test split of its data, and write
its report.""",
    "predict": """\
usage: matsciml predict FILE [FILE ...] [options]
       matsciml predict [--name NAME] [--ckpt_path PATH] [options]

Predict structures with the best checkpoint of a run. With files (CIF, POSCAR,
extended XYZ, ...), print a table and write predictions.extxyz. Labels in the
files are shown next to the predictions, with the mean error. Without files,
predict the predict split of the data and write the results to
RUNS_DIR/NAME-predict/predictions.jsonl.

with files:
  --ckpt_path PATH       best, last or a file (default: best)
  --out FILE             output file, .extxyz or .jsonl (default:
                         predictions.extxyz)
  --overwrite            replace the output file if it exists
  --batch-size N         number of structures per batch (default: 16)
  --device NAME          cpu, cuda or xpu (default: cpu)
  --unknown-elements warn   predict elements that the training data did not
                         contain, with a warning (default: refuse)
  --name, --runs_dir, --config   see below""",
}

_RUN = {
    "fit": """
run:
  --name NAME            write to RUNS_DIR/NAME, NAME-2, ... (default: fit)
  --runs_dir DIR         directory of all runs (default: runs)
  --ckpt_path PATH       continue a run: last or best continues the newest run
                         called NAME in its directory, a file starts a new one
  --schedule MODE        learning-rate schedule of a continued run whose length
                         or optimizer options have changed: restart starts the
                         schedule again over the remaining steps, stretch
                         continues on the schedule of the new length, keep
                         follows the old schedule and then keeps its last rate
  --init_from PATH       start a new run from the weights of a checkpoint: last
                         or best of the newest run called NAME, or a file
  --normalizer MODE      with --init_from: keep the mean and spread of the
                         checkpoint, or refit them to the new training data
""",
}
_OTHER_RUN = """
run:
  --name NAME            name of the run to evaluate (default: fit); results are
                         written to RUNS_DIR/NAME-{command}
  --runs_dir DIR         directory of all runs (default: runs)
  --ckpt_path PATH       best, last or a file (default: best); the config of its
                         run is used
  --untrained            evaluate random weights instead of a checkpoint
"""

_CONFIG = """
config:
  -c, --config FILE      YAML file; can be repeated, later files take precedence
  --KEY VALUE            override any key of the config:
                         --trainer.max_epochs 100, --trainer.devices 2,
                         --model.init_args.lr 0.001, --model CLASS,
                         --model.init_args.encoder CLASS, --data CLASS, ...
  --seed_everything N    seed of all random numbers (default: 0)
  --print_config         print the complete config and exit

more:
  --help-all             show all options in Lightning's format
  --model.help CLASS     show the options of a task
  --data.help CLASS      show the options of a data module
  --debug                show the traceback of an error
"""

_EXAMPLES = {
    "fit": """
examples:
  matsciml fit --trainer.max_epochs 60
  matsciml fit --config my.yaml --name wide --model.init_args.encoder PaiNN
  matsciml fit --name wide --ckpt_path last
  matsciml fit --ckpt_path last --trainer.max_epochs 99 --schedule stretch
  matsciml fit --model.help mml_tasks.ForceRegressionTask
""",
    "validate": """
examples:
  matsciml validate --name wide
""",
    "test": """
examples:
  matsciml test --name wide
  matsciml test --ckpt_path runs/wide-2/checkpoints/last.ckpt
""",
    "predict": """
examples:
  matsciml predict new.cif more.extxyz --name wide
  matsciml predict --name wide
""",
}

DIAGNOSE = """\
usage: matsciml diagnose [--config FILE] [options of `matsciml fit`]

Check the data and the model of a config before training: whether the data are
finite and plausible, gradients reach every parameter, outputs are invariant,
targets are normalized, the model can memorize one batch within 50 steps, and
training waits for data. The check runs in one process without the callbacks
and loggers of the config, and writes no files. The exit status is 0 if it has
neither warnings nor errors, and 1 otherwise.

examples:
  matsciml diagnose
  matsciml diagnose --config my.yaml --data.init_args.batch_size 64
"""
"""Help text of `matsciml diagnose`."""


def training_help(command: str) -> str:
    """Return the help text of ``fit``, ``validate``, ``test`` or ``predict``.

    Parameters
    ----------
    command
        Name of the command.
    """
    run = _RUN.get(command, _OTHER_RUN.format(command=command))
    return _ABOUT[command] + "\n" + run + _CONFIG + _EXAMPLES[command]
