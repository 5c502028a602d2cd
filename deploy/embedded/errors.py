"""The one error of the embedded stack.

It has one type because its reader is a person at a terminal: whatever went wrong, the text says what and what
to do about it, and the program prints it without a stack trace.
"""


class EmbeddedError(Exception):
    """The stack could not do what was asked; `str(error)` is the message for the user."""
