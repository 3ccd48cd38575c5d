"""What the shells load, and what it asks: click's machinery, with a safer script for bash."""

from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
)

from wattline import exits
from wattline.completion import COMPLETE
from wattline.failures import ActFailed

PROGRAM = "wattline"

_BASH = """\
%(complete_func)s() {
    local IFS=$' \\t\\n' type value
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done < <(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""
"""click's own expands the answers once more, as patterns of file names."""


class Bash(BashComplete):
    """For bash 4.4 and later."""

    source_template = _BASH

    def source(self) -> str:
        """The script; its shell may be another one than this."""
        return ShellComplete.source(self)


SHELLS: dict[str, type[ShellComplete]] = {"bash": Bash, "zsh": ZshComplete, "fish": FishComplete}


def script(*, shell: str) -> str:
    """What the shell loads. `wattline completion SHELL` prints it."""
    if shell not in SHELLS:
        known = ", ".join(SHELLS)
        raise ActFailed(f"no completion for {shell!r}; expected one of {known}", exits.USAGE)
    return SHELLS[shell](click.Command(PROGRAM), {}, PROGRAM, COMPLETE).source()


def answer(root: click.Command, instruction: str) -> int:
    """Print the words that may follow, for the script of a shell."""
    shell = SHELLS.get(instruction.removesuffix("_complete"))
    if shell is None:
        return exits.USAGE
    asked = shell(root, {}, PROGRAM, COMPLETE)
    for item in _items(asked):
        click.echo(asked.format_completion(item))
    return exits.OK


def _items(asked: ShellComplete) -> list[CompletionItem[Any]]:
    try:
        words, incomplete = asked.get_completion_args()
        if "--" in words:  # a command, and its files
            return [CompletionItem(incomplete, type="file")]
        return asked.get_completions(words, incomplete)
    except (click.ClickException, KeyError, ValueError):  # a line that is no command of wattline
        return []
