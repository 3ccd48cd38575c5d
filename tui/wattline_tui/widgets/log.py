"""The end of a log, as the task writes it."""

from rich.ansi import AnsiDecoder
from rich.text import Text
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from wattline_protocol.text.visible import LogText

MAX_LINES = 5_000
"""Lines retained; older ones are in the log itself (`wattline logs`)."""

MAX_LINE_CHARS = 10_000
"""Longer lines are truncated: a progress bar without line ends must not fill the memory."""

TAB_CHARS = 8


class LogPane(ScrollView, can_focus=True):
    """Lines in the task's colours; no other control sequence is effective.

    While `follows`, the end stays in view. Textual's own `Log` computes its size before it drops
    old lines, and scrolls past its end from the first dropped line on.
    """

    DEFAULT_CSS = "LogPane { overflow-x: auto; overflow-y: scroll; }"

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's own parameter name
        super().__init__(id=id)
        self.follows = True
        self._lines: list[Text] = []
        self._begin()

    def _begin(self) -> None:
        self._text, self._colours = LogText(), AnsiDecoder()
        self._open = ""
        self._widest = 0

    def clear(self) -> None:
        """Start another log."""
        self._lines.clear()
        self._begin()
        self._resize(dropped=0)

    def append(self, data: bytes) -> None:
        """Append bytes of the log; the last line may be unfinished."""
        *ended, self._open = (self._open + self._text.feed(data)).split("\n")
        self._open = self._open[-MAX_LINE_CHARS:]
        for line in ended:
            self._lines.append(self._decoded(line))
        dropped = max(0, len(self._lines) - MAX_LINES)
        del self._lines[:dropped]
        self._resize(dropped)

    def note(self, text: str) -> None:
        """A line of the terminal's own between those of the task."""
        self._lines.append(Text(text, style="reverse"))
        self._resize(dropped=0)

    @property
    def shown(self) -> list[str]:
        """All lines without their colours."""
        return [line.plain for line in self._all()]

    def _all(self) -> list[Text]:
        if not self._open:
            return self._lines
        style = self._colours.style  # the line continues: its colours count when it has ended
        unfinished = self._decoded(self._open)
        self._colours.style = style
        return [*self._lines, unfinished]

    def _decoded(self, line: str) -> Text:
        """The text that a terminal would show: after the last carriage return."""
        text = self._colours.decode_line(line.rstrip("\r")[:MAX_LINE_CHARS])
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
        strip = Strip(line.render(self.app.console), line.cell_len).apply_style(style)
        return strip.crop_extend(scroll_x, scroll_x + width, style)

    def _line(self, at: int) -> Text | None:
        if at < len(self._lines):
            return self._lines[at]
        return self._all()[-1] if at == len(self._lines) and self._open else None
