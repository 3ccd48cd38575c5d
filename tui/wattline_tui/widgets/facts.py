"""Prose about one thing."""

from textual.widgets import Static

from wattline_protocol.text.visible import visible


class Facts(Static):
    """Lines of text, as they are: without markup, and nothing in them acts on the terminal."""

    def __init__(self, text: str = "", *, id: str | None = None) -> None:  # noqa: A002 - Textual's
        super().__init__(visible(text), id=id, markup=False)

    def show(self, text: str) -> None:
        """Show this instead."""
        self.update(visible(text))
