"""The end of a log, as the task writes it."""

from collections import deque
from typing import ClassVar

from rich.ansi import AnsiDecoder
from rich.text import Text
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from wattline_protocol.text.visible import LogText

MAX_LINES = 5_000
"""Lines retained; older ones are in the log itself (`wattline logs`)."""

MAX_LINES_BACK = 20_000
"""Likewise, while older ones are read on request."""

MAX_LINE_CHARS = 10_000
"""Longer lines are truncated: a progress bar without line ends must not fill the memory."""

TAB_CHARS = 8


class LogPane(ScrollView, can_focus=True):
    """Lines in the task's colours; no other control sequence is effective.

    While `follows`, the end stays in view. Textual's own `Log` computes its size before it drops
    old lines, and scrolls past its end from the first dropped line on.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"log--match"}
    DEFAULT_CSS = "LogPane { overflow-x: auto; overflow-y: scroll; }"

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's own parameter name
        super().__init__(id=id)
        self.follows = True
        self.wanted = ""
        """In lower case; empty = nothing is searched."""
        self._lines: list[Text] = []
        self._begin()

    def _begin(self) -> None:
        self._text, self._colours = LogText(), AnsiDecoder()
        self._open, self._open_bytes = "", 0
        self._widest = 0
        self._lengths: deque[int] = deque()
        """Bytes of each line that has ended."""
        self._most = MAX_LINES
        self.begin = 0
        """Where in the log the first line begins."""

    def clear(self) -> None:
        """Start another log."""
        self._lines.clear()
        self._begin()
        self._resize(dropped=0)

    def prepend(self, data: bytes) -> None:
        """What ends where the first line begins; what is in view stays there.

        What belongs to the first line is counted only: it is longer than what is read at once.
        """
        text, colours = LogText(), AnsiDecoder()
        *ended, rest = data.split(b"\n")
        lines = text.feed(b"".join(line + b"\n" for line in ended)).split("\n")[:-1]
        self._lines[:0] = [self._decoded(line, colours) for line in lines]
        self._count_before(len(rest))
        self._lengths.extendleft(len(line) + 1 for line in reversed(ended))
        self.begin -= len(data)
        self._most = max(self._most, len(self._lines))
        self._resize(dropped=-len(lines))

    def _count_before(self, size_bytes: int) -> None:
        """More bytes of the first line, which may be the unfinished one."""
        if self._lengths:
            self._lengths[0] += size_bytes
        else:
            self._open_bytes += size_bytes

    @property
    def is_full(self) -> bool:
        """Whether no older lines can be put in front."""
        return len(self._lines) >= MAX_LINES_BACK

    # --- search -----------------------------------------------------------------------------

    def search(self, wanted: str) -> int:
        """Mark the lines that contain a text, upper and lower case alike; how many there are."""
        self.wanted = wanted.casefold()
        self.refresh()
        return len(self._matches())

    def jump(self, by: int) -> bool:
        """To the next line that matches, or with -1 to the one before; False: there is none."""
        found = self._matches()
        at = self.scroll_offset.y + self.size.height // 2
        ahead = [one for one in found if one > at] if by > 0 else [o for o in found if o < at]
        if not ahead:
            return False
        self.follows = False
        line = ahead[0] if by > 0 else ahead[-1]
        top = max(0, line - self.size.height // 2)
        self.scroll_to(y=top, animate=False, immediate=True)
        return True

    def _matches(self) -> list[int]:
        if not self.wanted:
            return []
        return [at for at, one in enumerate(self._all()) if self.wanted in one.plain.casefold()]

    # --- lines ------------------------------------------------------------------------------

    def append(self, data: bytes) -> None:
        """Append bytes of the log; the last line may be unfinished."""
        *ended, self._open = (self._open + self._text.feed(data)).split("\n")
        self._open = self._open[-MAX_LINE_CHARS:]
        skipped = max(0, len(ended) - self._most)
        if skipped:  # 64 KiB may be as many lines: only what they colour behind them counts
            self._colours.decode_line("".join(ended[:skipped]).replace("\r", ""))
        for line in ended[skipped:]:
            self._lines.append(self._decoded(line, self._colours))
        self._count(data)
        surplus = max(0, len(self._lines) - self._most)
        del self._lines[:surplus]
        dropped = skipped + surplus
        self.begin += sum(self._lengths.popleft() for _ in range(dropped))
        self._resize(dropped)

    def _count(self, data: bytes) -> None:
        *ended, last = data.split(b"\n")
        for piece in ended:
            self._lengths.append(self._open_bytes + len(piece) + 1)
            self._open_bytes = 0
        self._open_bytes += len(last)

    @property
    def shown(self) -> list[str]:
        """All lines without their colours."""
        return [line.plain for line in self._all()]

    def _all(self) -> list[Text]:
        if not self._open:
            return self._lines
        style = self._colours.style  # the line continues: its colours count when it has ended
        unfinished = self._decoded(self._open, self._colours)
        self._colours.style = style
        return [*self._lines, unfinished]

    def _decoded(self, line: str, colours: AnsiDecoder) -> Text:
        """The text that a terminal would show: after the last carriage return."""
        shown = line.rstrip("\r").rpartition("\r")[2]
        text = colours.decode_line(shown[:MAX_LINE_CHARS])
        text.expand_tabs(TAB_CHARS)
        self._widest = max(self._widest, text.cell_len)
        return text

    def _resize(self, dropped: int) -> None:
        self.virtual_size = Size(self._widest, len(self._lines) + bool(self._open))
        if self.follows:
            self.scroll_end(animate=False, immediate=True, x_axis=False)
        elif dropped:
            self.scroll_to(y=self.scroll_y - dropped, animate=False, immediate=True)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line of the visible part."""
        scroll_x, scroll_y = self.scroll_offset
        width, style, at = self.size.width, self.rich_style, scroll_y + y
        line = self._line(at)
        if line is None:
            return Strip.blank(width, style)
        if self.wanted and self.wanted in line.plain.casefold():
            style += self.get_component_rich_style("log--match", partial=True)
        strip = Strip(line.render(self.app.console), line.cell_len).apply_style(style)
        return strip.crop_extend(scroll_x, scroll_x + width, style)

    def _line(self, at: int) -> Text | None:
        if at < len(self._lines):
            return self._lines[at]
        return self._all()[-1] if at == len(self._lines) and self._open else None
