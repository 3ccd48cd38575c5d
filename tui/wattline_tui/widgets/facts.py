"""Plain text about one object."""

from textual.widgets import Static

from wattline_protocol.text.visible import visible


class Facts(Static):
    """Lines of text, unchanged: without markup, and unable to control the terminal."""

    def __init__(self, text: str = "", *, id: str | None = None) -> None:  # noqa: A002 - Textual's
        super().__init__(visible(text), id=id, markup=False)

    def show(self, text: str) -> None:
        """Replace the text."""
        self.update(visible(text))
