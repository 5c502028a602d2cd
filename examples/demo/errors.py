"""The one error of the demo: its text is what the user reads before the demo ends with status 1."""


class DemoFailure(Exception):
    """Something isn't as the demo promises; the text says what, and where to look."""
