"""Modes that a program has set on the user's terminal, and what restores them. Pure.

A full-screen program restores them when it ends, but not when its user detaches.
"""

import re

MAX_SEQUENCE_BYTES = 64
ON_BY_DEFAULT = frozenset({7, 25})
"""Of DEC's private modes: automatic line breaks, the cursor."""
MAX_MODE = 9_999
RESETS = (
    "\x1b7\x1b[r\x1b8"  # scrolling region: all rows; that moves the cursor, which is put back
    "\x1b(B"  # character set: ASCII
    "\x1b[0m"  # colours
    "\x1b>"  # keypad: digits
    "\x1b[>4;0m"  # xterm's modifyOtherKeys: off
    "\x1b[<u"  # the kitty protocol's keys: those before
    "\x1b[0 q"  # cursor: its default shape
)
"""Whatever the program has set; terminals ignore those that they lack."""

_MODE = re.compile(rb"\x1b\[\?([0-9;]{1,48})([hl])")


class TerminalModes:
    """Private modes that differ from their defaults."""

    def __init__(self) -> None:
        self._changed: set[int] = set()
        self._rest = b""
        self._has_output = False

    def feed(self, output: bytes) -> None:
        """Output that is shown."""
        text = self._rest + output
        end = 0
        for found in _MODE.finditer(text):
            end = found.end()
            for word in found[1].split(b";"):
                if word and int(word) <= MAX_MODE:
                    self._note(int(word), is_on=found[2] == b"h")
        start = text.rfind(b"\x1b", max(end, len(text) - MAX_SEQUENCE_BYTES))
        self._rest = text[start:] if start >= 0 else b""
        self._has_output |= bool(output)

    def _note(self, mode: int, *, is_on: bool) -> None:
        if is_on == (mode in ON_BY_DEFAULT):
            self._changed.discard(mode)
        else:
            self._changed.add(mode)

    def restoring(self) -> bytes:
        """What restores the modes and `RESETS`; nothing where nothing was shown."""
        if not self._has_output:
            return b""
        modes = (f"\x1b[?{mode}{'h' if mode in ON_BY_DEFAULT else 'l'}" for mode in self._changed)
        return "".join([*sorted(modes), RESETS]).encode()
