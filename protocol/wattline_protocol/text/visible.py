"""Makes text of other users, jobs and drivers safe to display: without terminal control.

Control characters of C0 and DEL become their Unicode pictures (`␛`); C1, bidirectional controls,
line separators and, outside logs, characters without a width become escapes (`\\x9b`, `\\u202e`,
`\\u200d`). Newline and tab stay.

Sources: ECMA-48 (control sequences), Unicode Standard Annex 9 (bidirectional controls), and
CVE-2021-42574, which shows what the latter hide.
"""

import codecs
import re

from wattline_protocol.wire.bounds import CONTROLS

_SPACE, _DEL, _LATIN_1 = 0x20, 0x7F, 0x100


def _symbol(code: int) -> str:
    if code < _SPACE:
        return chr(0x2400 + code)
    if code == _DEL:
        return "\u2421"
    return f"\\x{code:02x}" if code < _LATIN_1 else f"\\u{code:04x}"


_NO_WIDTH = (0xAD, 0x180E, *range(0x200B, 0x200E), *range(0x2060, 0x2065), 0xFEFF)
"""Soft hyphen, joiners and other invisible ones: they make two texts look like one, and a joiner
(U+200D) makes a row wider on terminals than where it was measured."""

_SHOWN = {
    code: _symbol(code) for code in (*map(ord, CONTROLS), *_NO_WIDTH) if chr(code) not in "\n\t"
}
_SHOWN_IN_LINE = {**_SHOWN, ord("\n"): " ", ord("\t"): " "}
_SHOWN_IN_LOG = {ord(char): _symbol(ord(char)) for char in CONTROLS if char not in "\n\t\r\x1b"}

MAX_COLOUR_CHARS = 64
"""Parameters of one SGR sequence; longer ones are not colours."""

_COLOUR = re.compile(rf"\x1b\[[0-9;]{{0,{MAX_COLOUR_CHARS}}}m")
_NO_COLOUR = re.compile(rf"\x1b(?!\[[0-9;]{{0,{MAX_COLOUR_CHARS}}}m)")
_BEGUN_COLOUR = re.compile(rf"\x1b(\[[0-9;]{{0,{MAX_COLOUR_CHARS}}})?\Z")
_RESETS = {"\x1b[m", "\x1b[0m"}
_RESET = "\x1b[0m"

MAX_ACTIVE_CHARS = 512
"""Maximum of active colours repeated at the next piece of a log; beyond it only the last one."""


def visible(text: str) -> str:
    """`text` with every terminal control character made visible; lines and tabs stay."""
    return text if text.isprintable() else text.translate(_SHOWN)


def visible_line(text: str) -> str:
    """The same in one line: newlines and tabs are spaces."""
    return text if text.isprintable() else text.translate(_SHOWN_IN_LINE)


def visible_log(text: str) -> str:
    """Lines of a log: colours (SGR) and carriage returns of progress bars stay as well, and
    characters without a width, which words of Persian and Hindi are written with."""
    if text.isprintable():
        return text
    return _NO_COLOUR.sub(_symbol(0x1B), text).translate(_SHOWN_IN_LOG)


class LogText:
    """A log that arrives in pieces of bytes, as text in which only colours are effective.

    A character or a colour that is split between pieces waits for the next one.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""

    def feed(self, data: bytes) -> str:
        """The text of the next piece."""
        text = self._rest + self._decoder.decode(data)
        begun = _BEGUN_COLOUR.search(text, max(0, len(text) - MAX_COLOUR_CHARS - 2))
        self._rest = begun.group() if begun else ""
        return visible_log(text[: begun.start()] if begun else text)


class TerminalLog:
    """The same for a terminal that others use afterwards: no colour outlives a piece.

    A colour active at the end of a piece is set again at the beginning of the next one.
    """

    def __init__(self) -> None:
        self._text = LogText()
        self._active = ""

    def feed(self, data: bytes) -> str:
        """The text of the next piece."""
        before, text = self._active, self._text.feed(data)
        colours = _COLOUR.findall(text)
        for colour in colours:
            self._active = "" if colour in _RESETS else self._active + colour
            if len(self._active) > MAX_ACTIVE_CHARS:
                self._active = colour
        return f"{before}{text}{_RESET}" if before or colours else text
