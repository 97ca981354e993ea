"""The way in and the way out: arguments to commands, errors to one line and an exit status."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from imgmove.version import __version__

_OF_OUTPUT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EBADF})
"""What writing to a stream fails with, and nothing else that carries no file's name."""


def run() -> NoReturn:
    """The program itself: runs the command line that it was given, and ends.

    All files, connections and threads are closed by then. What is left is Python taking apart its modules one by one,
    which takes a sixth of the time of a short command and is of no use to anybody.
    """
    if None in (sys.stdin, sys.stdout, sys.stderr):
        from imgmove.cli.standard import replace_closed

        replace_closed()
    status = main()
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line; returns its exit status.

    Everything is imported late, so that what is not used costs no time at the start.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _tell_version() if given == ["--version"] else _run(given)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has enough, as with any command before "| head".
        _give_up_stdout()
        status = 1
    except OSError as error:
        from imgmove.cli.messages import Messages, unwritable

        Messages().error(unwritable(error))
        _give_up_stdout()
        status = 1
    return status


def _tell_version() -> int:
    sys.stdout.write(f"imgmove {__version__}\n")
    return 0


def _run(arguments: list[str]) -> int:
    from typer.exceptions import TyperException

    from imgmove.cli.messages import Messages
    from imgmove.errors import ImgmoveError, Interrupted

    is_verbose = "-v" in arguments or "--verbose" in arguments
    as_json = "--log-format=json" in arguments or "--log-format json" in " ".join(arguments)
    messages = Messages(is_verbose=is_verbose, as_json=as_json)
    try:
        return _invoked(arguments)
    except Interrupted as error:
        messages.error(error)
        return 128 + error.signal_number
    except ImgmoveError as error:
        messages.error(error)
        return error.exit_status
    except TyperException as error:
        messages.error(_usage_error(error, arguments))
        return 2
    except KeyboardInterrupt:
        messages.error(Interrupted())
        return 130
    except BrokenPipeError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None and error.errno in _OF_OUTPUT:
            raise
        # The last resort: a line instead of a traceback.
        messages.error(error)
        return 1


def _invoked(arguments: list[str]) -> int:
    import warnings

    import typer

    from imgmove.cli.app import app_for

    # urllib3 warns of what was asked for, with the path of its source file.
    warnings.filterwarnings("ignore", "Unverified HTTPS request")
    command = typer.main.get_command(app_for(arguments))
    # A group alone is a question.
    given = [*arguments, "--help"] if arguments in ([], ["bundle"]) else arguments
    try:
        result = command.main(given, prog_name="imgmove", standalone_mode=False)
    except typer.Exit as leaving:
        return leaving.exit_code
    except typer.Abort:
        return 130
    return result if isinstance(result, int) else 0


def _usage_error(error: Exception, arguments: Sequence[str]) -> Exception:
    from imgmove.errors import UsageError

    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else " ".join(["imgmove", *arguments[:1]])
    message, hint = _explained(error, command, arguments)
    message, more = message[:1].lower() + message[1:].rstrip("."), f"see {command} --help"
    return UsageError(message, hint=f"{hint}; {more}" if hint else more)


def _explained(error: Exception, command: str, arguments: Sequence[str]) -> tuple[str, str]:
    """What is wrong with the arguments, and what could be written instead."""
    from imgmove.cli.foreign import hint_for_argument, hint_for_command, hint_for_option

    if hasattr(error, "possibilities"):
        message, option, alike = str(error), getattr(error, "option_name", ""), getattr(error, "possibilities", None)
        if command == "imgmove":
            return message, "options stand behind the command"
        params = getattr(getattr(error, "ctx", None), "command", None)
        existing = [(*item.opts, *item.secondary_opts) for item in getattr(params, "params", ())]
        return message, hint_for_option(option, existing, alike or ())
    message = str(getattr(error, "format_message", lambda: error)())
    if "unexpected extra argument" in message:
        return message, hint_for_argument(command.removeprefix("imgmove "))
    is_command = command == "imgmove" and message.startswith("No such command")
    ours = hint_for_command(arguments[0]) if is_command else ""
    return (message.partition(". ")[0] if ours else message), ours


def _give_up_stdout() -> None:
    """Keeps the interpreter from complaining when it flushes stdout at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
