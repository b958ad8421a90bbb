"""Help texts of `matsciml fit`, `validate`, `test` and `predict`: the main options, in 80 columns."""

from __future__ import annotations

_ABOUT = {
    "fit": """\
usage: matsciml fit [--config FILE] [options]

Train a model; the run ends with its errors on the test split and a report.
Without --config: energies and forces of the embedded data set.""",
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

Predict the structures in files (CIF, POSCAR, extended XYZ, ...) with the best
checkpoint of a run, as a table and predictions.extxyz; or, without files, those
of the data's own predict split, as RUNS_DIR/NAME-predict/predictions.jsonl.

with files:
  --ckpt_path PATH       best, last or a file (default: best)
  --out FILE             .extxyz or .jsonl (default: predictions.extxyz)
  --overwrite            replace that file
  --batch-size N         structures at once (default: 16)
  --device NAME          cpu, cuda or xpu (default: cpu)
  --name, --runs_dir, --config   as below""",
}

_RUN = {
    "fit": """
the run:
  --name NAME            keep it as RUNS_DIR/NAME, NAME-2, ... (default: fit)
  --runs_dir DIR         where runs are kept (default: runs)
  --ckpt_path PATH       continue from best or last, of the newest run called
                         NAME and in its directory, or from a file
  --schedule MODE        with --ckpt_path, if the run gets another length or
                         other options of the optimizer: restart begins the
                         learning-rate schedule anew over the remaining steps,
                         stretch continues on that of the new length, keep
                         follows the old one and keeps its last rate
  --init_from PATH       a new run from the weights alone of best or last, of
                         the newest run called NAME, or of a file
  --normalizer MODE      with --init_from: keep the checkpoint's mean and
                         spread, or refit them to the new training data
""",
}
_OTHER_RUN = """
the run:
  --name NAME            the run that best and last are of (default: fit); what
                         comes out is kept as RUNS_DIR/NAME-{command}
  --runs_dir DIR         where runs are kept (default: runs)
  --ckpt_path PATH       best, last or a file (default: best); brings the config
                         of its run
  --untrained            evaluate random weights instead
"""

_CONFIG = """
what it does:
  -c, --config FILE      YAML; may be given several times, later ones win
  --KEY VALUE            any key of a config, over what the files say:
                         --trainer.max_epochs 100, --trainer.devices 2,
                         --model.init_args.lr 0.001, --model CLASS,
                         --model.init_args.encoder CLASS, --data CLASS, ...
  --seed_everything N    of all random numbers (default: 0)
  --print_config         print the whole config and end

more:
  --help-all             all options, as Lightning lists them
  --model.help CLASS     those of a task; --data.help of a data module
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


def training_help(command: str) -> str:
    """Return the help of ``fit``, ``validate``, ``test`` or ``predict``."""
    run = _RUN.get(command, _OTHER_RUN.format(command=command))
    return _ABOUT[command] + "\n" + run + _CONFIG + _EXAMPLES[command]
