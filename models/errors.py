"""The one exception that a user is meant to read."""


class HeadscopeError(Exception):
    """One sentence with the value, what was expected, and the way out.

    The command prints it and exits with status 2; the app shows it in place. Anything else that
    is raised is a bug of headscope.
    """


MISFIT = (RuntimeError, ValueError, TypeError, AssertionError, KeyError, AttributeError, IndexError)
"""What a model raises that is built or run with arguments that do not fit it."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, as a sentence."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return f"{line}."
