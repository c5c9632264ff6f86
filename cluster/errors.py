"""What the command line says without a traceback.

UserError           a mistake of the user: one line, exit status 2
`-- Running         the sweep is at work on the cluster already
FailedRun           the command was right and what it ran was not: one line, exit status 1
"""


class UserError(Exception):
    """A mistake of the user; the text is one line that ends with the way out."""


class Running(UserError):
    """An attempt at the sweep has not ended, so there is no place for another."""


class FailedRun(Exception):
    """A run that ended badly through no mistake in the command; the text is one line."""
