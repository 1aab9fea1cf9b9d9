"""The ways in which a verb may end early, each with the exit code that the command's contract promises."""

import signal


class InputFault(Exception):
    """The input is at fault. The message is one line: what, where, and the remedy."""

    exit_code = 1


class RunFailed(Exception):
    """The run itself failed (NaN, memory, disk). The message is one line with the remedy."""

    exit_code = 3


class Interrupted(Exception):
    """A signal asked the run to stop; it has written a checkpoint and can be gone on with."""

    def __init__(self, signal_number: int) -> None:
        name = signal.Signals(signal_number).name
        super().__init__(f"stopped by {name}; the same command goes on from here")
        self.exit_code = 128 + signal_number
