"""Make this package's log lines visible to someone who never set logging up."""

import logging

PACKAGE = "mml_diagnostics"


def speak_on_console() -> None:
    """Show this package's log lines from level INFO on; on standard error, where no handler takes them."""
    package = logging.getLogger(PACKAGE)
    if not package.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        package.addHandler(handler)
    if package.getEffectiveLevel() > logging.INFO:
        package.setLevel(logging.INFO)
