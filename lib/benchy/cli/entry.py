"""The call of a command's main(), which turns exceptions into messages and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from benchy.core import errors
from benchy.core.errors import ConfigError, Died, Failure
from benchy.display import messages


def _raise_later(lost: sys.UnraisableHookArgs) -> None:
    """Raise an exception again that a signal handler raised within a destructor.

    Python drops such an exception, so a Ctrl-C would be lost. It is raised after the destructor.
    """
    error = lost.exc_value
    if error is None or isinstance(error, Exception):
        sys.__unraisablehook__(lost)
        return
    import signal  # noqa: PLC0415 - costs milliseconds, and is almost never needed

    def raise_error(signum: int, frame: object) -> None:
        raise error

    signal.signal(signal.SIGALRM, raise_error)
    signal.setitimer(signal.ITIMER_REAL, 0.01)


def run(main: Callable[[list[str]], int], argv: list[str] | None = None) -> int:
    """Call main(argv), turn its exceptions into messages, and return the exit status. argv: None
    takes the command line's."""
    sys.unraisablehook = _raise_later
    try:
        return main(sys.argv[1:] if argv is None else argv)
    except ConfigError as error:
        for mistake in error.mistakes:
            print(f"{messages.colour('error:', '31')} {mistake}", file=sys.stderr)
        return 2
    except Failure as error:
        print(f"{messages.colour('failed:', '31')} {error}", file=sys.stderr)
        return Died.STATUS if isinstance(error, Died) else 1
    except UnicodeEncodeError as error:
        # A knob or a file name has bytes that are not text. Those of a config fail when it is read.
        near = error.object[max(0, error.start - 30) : error.end + 10]
        print(f"{messages.colour('error:', '31')} {near!a} is not UTF-8", file=sys.stderr)
        print("  write names and knobs in UTF-8", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 1
    except OSError as error:
        # For example a full or read-only disk, a missing permission, too many open files.
        print(f"{messages.colour('failed:', '31')} {errors.of_system(error)}", file=sys.stderr)
        if os.environ.get("V") in ("1", "2"):
            import traceback  # noqa: PLC0415 - costs milliseconds, and only failures need it

            traceback.print_exc()
        else:
            print("  V=1 shows where", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
