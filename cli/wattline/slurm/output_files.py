"""The files of `--output` and `--error`, as redirections of a shell."""

import re
import shlex
from collections.abc import Mapping
from typing import NamedTuple

from wattline.slurm.script import Blame, Directive

_TOKEN = re.compile(r"%(.?)")
_VARIABLES = {
    "j": '"$SLURM_JOB_ID"',
    "A": '"$WATTLINE_JOB"',
    "a": '"$WATTLINE_ARRAY_INDEX"',
    "x": '"$WATTLINE_JOB_NAME"',
    "u": '"$USER"',
    "N": '"$WATTLINE_NODE"',
    "n": '"$WATTLINE_NODE_RANK"',
    "t": '"$WATTLINE_NODE_RANK"',
    "%": "%",
}
_BY_NODE = {"N", "n", "t"}
_SIGNS = {"": ">", "truncate": ">", "append": ">>"}
_STREAMS = {"output": "", "error": "2"}
_NOWHERE = ("none", "/dev/null")


class OutputFiles(NamedTuple):
    """Where the streams of a script go, in the syntax of a shell."""

    redirections: str = ""
    names: str = ""
    """Empty: both streams are in the log."""


def output_files(given: Mapping[str, Directive], *, is_one_node: bool) -> OutputFiles | Blame:
    """The files of the directives."""
    sign = _SIGNS.get(given["open-mode"].value if "open-mode" in given else "")
    if sign is None:
        return Blame(given["open-mode"].line, "--open-mode: expected append or truncate")
    words: dict[str, str] = {}
    for option in ("output", "error"):
        if option in given:
            line, _, pattern = given[option]
            try:
                words[option] = _word(pattern, is_one_node=is_one_node)
            except ValueError as error:
                return Blame(line, f"--{option}={pattern}: {error}")
    parts = [f"{_STREAMS[option]}{sign}{word}" for option, word in words.items()]
    if words and words.get("error", words.get("output")) == words.get("output"):
        parts = [parts[0], "2>&1"]
    return OutputFiles(" ".join(parts), " ".join(dict.fromkeys(words.values())))


def _word(pattern: str, *, is_one_node: bool) -> str:
    """The pattern as a word of a shell. Raises ValueError."""
    if pattern in _NOWHERE:
        return "/dev/null"
    if not pattern:
        raise ValueError("expected the name of a file")
    tokens = set(_TOKEN.findall(pattern))
    if unknown := tokens - _VARIABLES.keys():
        right = "".join(f" %{name}" for name in _VARIABLES)
        raise ValueError(f"%{min(unknown)} has no counterpart; these have:{right}")
    if not is_one_node and not tokens & _BY_NODE:
        raise ValueError("each node writes its own file: add %n to the name")
    texts = _TOKEN.split(pattern)
    words = (
        _VARIABLES[text] if at % 2 else (shlex.quote(text) if text else "")
        for at, text in enumerate(texts)
    )
    return "".join(words)
