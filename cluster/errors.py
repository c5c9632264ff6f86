"""What the command line says without a traceback.

UserError           a mistake of the user: one line, exit status 2
FailedRun           the command was right and what it ran was not: one line, exit status 1
"""


class UserError(Exception):
    """A mistake of the user; the text is one line that ends with the way out."""


class FailedRun(Exception):
    """A run that ended badly through no mistake in the command; the text is one line."""
