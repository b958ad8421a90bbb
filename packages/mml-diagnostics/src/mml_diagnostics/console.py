"""Show this package's log messages on the console if logging is not configured."""

import logging

PACKAGE = "mml_diagnostics"


def speak_on_console() -> None:
    """Enable this package's log messages from level INFO on.

    If no handler is configured for them, they are written to standard error.
    """
    package = logging.getLogger(PACKAGE)
    if not package.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        package.addHandler(handler)
    if package.getEffectiveLevel() > logging.INFO:
        package.setLevel(logging.INFO)
