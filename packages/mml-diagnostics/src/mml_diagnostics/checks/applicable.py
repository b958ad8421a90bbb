"""How a check says that it has nothing to look at."""


class NotApplicableError(Exception):
    """What the check needs is not there; the text says what is missing."""
