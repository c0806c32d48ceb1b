"""The one exception that ends a run with a sentence instead of a traceback."""


class Failure(Exception):
    """Something the run needs did not happen; the text says what, for the person who started it."""
