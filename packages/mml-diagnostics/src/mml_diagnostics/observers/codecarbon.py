"""CodeCarbonCallback: estimate the carbon dioxide emissions of each stage of a trainer with codecarbon."""

from pathlib import Path
from typing import Any

from mml_diagnostics._lightning import LightningModule, Trainer
from mml_diagnostics.base import DiagnosticCallback, never_fatal
from mml_diagnostics.loggers import log_scalars


class CodeCarbonCallback(DiagnosticCallback):
    """Estimate the emissions of each fit, validation, test and prediction of a trainer, on its rank zero.

    Parameters
    ----------
    output_file
        Name of the CSV file that codecarbon writes.
    output_dir
        Directory of the CSV file. ``None`` uses the trainer's log directory.
    offline
        Whether to use codecarbon's offline tracker, which needs ``country_iso_code`` and sends no data.
    **kwargs
        Further arguments of codecarbon's tracker.

    Attributes
    ----------
    emissions
        Mapping from stage to emissions in kilograms of carbon dioxide equivalents.

    Raises
    ------
    ImportError
        If codecarbon is not installed.
    ValueError
        If ``offline`` is True and ``country_iso_code`` is not given.
    """

    def __init__(
        self,
        output_file: str = "emissions.csv",
        output_dir: str | Path | None = None,
        offline: bool = True,
        **kwargs: object,
    ) -> None:
        try:
            import codecarbon
        except ModuleNotFoundError as error:
            raise ImportError(
                "CodeCarbonCallback requires codecarbon. Run: pip install mml-diagnostics[codecarbon]"
            ) from error
        if offline and "country_iso_code" not in kwargs:
            raise ValueError(
                'offline=True requires a country, such as country_iso_code="USA". Pass it, or pass '
                "offline=False to look it up."
            )
        super().__init__()
        self.output_file = output_file
        self.output_dir = output_dir
        self.kwargs = kwargs
        self.emissions: dict[str, float] = {}
        self._class = codecarbon.OfflineEmissionsTracker if offline else codecarbon.EmissionsTracker
        self._tracker: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start the tracker."""
        super().setup(trainer, pl_module, stage)
        self._start(str(trainer.log_dir or trainer.default_root_dir), trainer.is_global_zero)

    @never_fatal
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop the tracker and log the emissions."""
        if (kilograms := self._stop()) is not None:
            name = str(getattr(stage, "value", stage))  # Lightning passes an enum member
            self.emissions[name] = kilograms
            log_scalars(trainer, {f"codecarbon/{name}_kg": kilograms}, trainer.global_step)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop the tracker and write the findings."""
        self._stop()
        super().on_exception(trainer, pl_module, exception)

    @never_fatal
    def _start(self, directory: str, measures: bool) -> None:
        if not measures:
            return
        folder = Path(self.output_dir or directory)
        folder.mkdir(parents=True, exist_ok=True)
        options = {"log_level": "error"} | self.kwargs
        self._tracker = self._class(output_file=self.output_file, output_dir=str(folder), **options)
        self._tracker.start()

    def _stop(self) -> float | None:
        tracker, self._tracker = self._tracker, None
        if tracker is None:
            return None
        kilograms = tracker.stop()
        return None if kilograms is None else float(kilograms)
