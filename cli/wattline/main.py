"""Entry point of the `wattline` command: parse, run, and turn every error into one line."""

import os
import sys

import click

from wattline import exits
from wattline.completion import COMPLETE
from wattline.verbs.catalogue import CATALOGUE
from wattline.verbs.group import Root


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with its exit code."""
    status = run(sys.argv[1:] if argv is None else argv)
    sys.exit(status)


def run(argv: list[str]) -> int:
    """Exit code for `argv`; writes results to stdout and one line per error to stderr."""
    if asked := os.environ.get(COMPLETE):
        from wattline.completion.shells import answer

        return answer(Root(CATALOGUE), asked)
    try:
        result = Root(CATALOGUE).main(argv, prog_name="wattline", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return exits.USAGE
    except click.UsageError as error:
        hint = f" (see `{error.ctx.command_path.strip()} --help`)" if error.ctx is not None else ""
        return _fail(exits.USAGE, " ".join(error.format_message().split()) + hint)
    except click.ClickException as error:
        return _fail(exits.FAILED, error.format_message())
    except (click.Abort, KeyboardInterrupt):
        return exits.INTERRUPTED
    except BrokenPipeError:
        # The reader closed the pipe (`wattline jobs | head`); closing stdout again must not fail.
        sys.stderr.close()
        return exits.OK
    except Exception as error:
        return _expected(error)
    return result if isinstance(result, int) else exits.OK


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
