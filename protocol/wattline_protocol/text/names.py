"""Names of objects; safe as file names, in texts and in environment variables."""

import re

from wattline_protocol.text.visible import visible_line

MAX_NAME_CHARS = 64

NAME = rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME_CHARS - 1}}}"
"""A name as a regular expression."""

_NAME = re.compile(NAME)


def check_name(name: str) -> str:
    """`name` itself. Raises ValueError when it is invalid as a file name or a word in a text."""
    if _NAME.fullmatch(name) is None:
        shown = visible_line(name if len(name) <= MAX_NAME_CHARS else f"{name[:MAX_NAME_CHARS]}…")
        raise ValueError(
            f'"{shown}" is not a valid name: 1 to {MAX_NAME_CHARS} letters, digits, ".", "_" or '
            '"-", the first a letter or digit'
        )
    return name
