"""The two ways in which a verb may fail, each with the exit code that the command's contract promises."""


class InputFault(Exception):
    """The input is at fault. The message is one line: what, where, and the remedy."""

    exit_code = 1


class RunFailed(Exception):
    """The run itself failed (NaN, memory, disk). The message is one line with the remedy."""

    exit_code = 3
