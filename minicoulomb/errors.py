"""The one exception that means "the user can correct this": the value, the rule, the remedy."""


class UserError(ValueError):
    """A mistake in the input (an option, a file, an array), with a message of the form "value: rule; remedy".

    The command line prints the message alone, without a traceback, and exits with status 1.
    """
