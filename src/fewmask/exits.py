"""How the command ends: one line on standard error, and the exit code that its contract names."""

import errno
import sys

import typer

from fewmask.errors import InputFault, Interrupted, RunFailed


def exit_code(app: typer.Typer) -> int:
    """Run the command line and give its exit code; a fault is told in one line."""
    try:
        answer = app(standalone_mode=False)
        return answer if isinstance(answer, int) else 0
    except typer.Exit as end:
        return end.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _say("interrupted; the same command goes on", 130)
    except typer.TyperException as error:
        # A verb without arguments has shown its help already and says no more.
        text = error.format_message() if hasattr(error, "format_message") else str(error)  # pyright: ignore
        return _say(f"{text} (fewmask --help shows the forms)", 2) if text else 2
    except (InputFault, RunFailed, Interrupted) as error:
        return _say(str(error), error.exit_code)
    except (OSError, MemoryError) as error:
        return _trouble_of_the_machine(error)


def _trouble_of_the_machine(error: OSError | MemoryError) -> int:
    if isinstance(error, MemoryError):
        return _say("out of memory; lower --set batch or --set size, or use --small", 3)
    if error.errno == errno.EPIPE:  # `fewmask study --list | head -1`: the reader has seen enough.
        return 0
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return _say(
            f"{error.filename or 'output'}: the disk is full; free some, then run the same command again", 3
        )
    return _say(
        f"{error.filename or 'a file'}: {error.strerror or error}; check the path and its permissions", 1
    )


def _say(text: str, code: int) -> int:
    print(f"fewmask: {' '.join(text.split())}", file=sys.stderr)
    return code
