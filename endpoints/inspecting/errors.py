"""What inspection says when it says no."""


class RefusedError(Exception):
    """The file cannot or must not be served; the message says why and what to do, in one line."""
