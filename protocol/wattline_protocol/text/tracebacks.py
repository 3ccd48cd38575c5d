"""The error of the last Python traceback in a text, in one line. Pure."""

import re

TRACEBACK = "Traceback (most recent call last):"
MAX_ERROR_CHARS = 1000
"""Of the message, and of its place."""

_FRAME = re.compile(r'  File "([^"]+)", line (\d+), in (.+)')


def error_of(text: str) -> str:
    """Message and place of the last traceback; empty = none. A program may log more after it: the
    message is its first line that is not indented. Where torch trains it begins each line with the
    rank, as it does the first."""
    before, found, rest = text.rpartition(TRACEBACK)
    if not found:
        return ""
    prefix = before.rpartition("\n")[2]
    place, message = "", ""
    for line in (one.removeprefix(prefix) for one in rest.splitlines()[1:]):
        if frame := _FRAME.match(line):
            place = f" ({frame[1]}:{frame[2]} in {frame[3]})"
        elif line.strip() and not line.startswith(" "):
            message = line.strip()
            break
    return f"{message[:MAX_ERROR_CHARS]}{place[:MAX_ERROR_CHARS]}" if message else ""
