"""Entry point of the `wattline` command: parse, run, and turn every error into one line."""

import errno
import os
import sys

import click

from wattline import exits
from wattline.completion import COMPLETE
from wattline.verbs.catalogue import CATALOGUE
from wattline.verbs.group import Root

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with its exit code."""
    status = run(sys.argv[1:] if argv is None else argv)
    sys.exit(status)


def run(argv: list[str]) -> int:
    """Exit code for `argv`; writes results to stdout and one line per error to stderr."""
    if asked := os.environ.get(COMPLETE):
        from wattline.completion.shells import answer

        return answer(Root(CATALOGUE), asked)
    _open_closed_streams()
    try:
        status = _invoke(argv)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return exits.USAGE
    except click.UsageError as error:
        return _fail(exits.USAGE, _with_hint(error))
    except click.ClickException as error:
        return _fail(exits.FAILED, error.format_message())
    except (click.Abort, KeyboardInterrupt):
        return exits.INTERRUPTED
    except BrokenPipeError:  # the reader closed the pipe (`wattline jobs | head`)
        _drop_output()
        return exits.OK
    except OSError as error:
        if error.errno not in FULL:
            raise
        _drop_output()
        return _fail(exits.FAILED, f"{error.filename or 'the output'}: {error.strerror}")
    except Exception as error:
        return _expected(error)
    return status


def _with_hint(error: click.UsageError) -> str:
    text = " ".join(error.format_message().split())
    if error.ctx is None:
        return text
    page = f"`{error.ctx.command_path.strip()} --help`"
    return f"{text} See {page}." if text.endswith((".", "?", ")")) else f"{text} (see {page})"


def _invoke(argv: list[str]) -> int:
    """As click's `main`, which would end the program itself when a pipe is closed."""
    root = Root(CATALOGUE)
    try:
        with root.make_context("wattline", argv) as context:
            result = root.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    return result if isinstance(result, int) else exits.OK


def _open_closed_streams() -> None:
    """A stream that the caller closed (`>&-`) is None in Python: nothing is written to it."""
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def _drop_output() -> None:
    """What is still buffered goes nowhere: at exit it would fail once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _expected(error: Exception) -> int:
    """Exit code of an error that a user can resolve; others are raised with their traceback."""
    from wattline.failures import status_of

    status = status_of(error)
    if status is None:
        raise error
    return _fail(status, str(error))


def _fail(status: int, text: str) -> int:
    from wattline.show.screen import put_error

    put_error(f"wattline: {text}")
    return status
