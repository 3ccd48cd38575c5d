"""Splits a body that arrives in pieces into its lines. No I/O."""


def one_line(data: bytes) -> bytes:
    """JSON without line breaks, which are only between its tokens."""
    return data.replace(b"\n", b" ").replace(b"\r", b" ")


class LineTooLong(ValueError):
    """A line exceeds the limit."""


class Lines:
    """The lines of a body, without their line breaks."""

    def __init__(self, most_bytes: int) -> None:
        """`most_bytes`: of a line."""
        self._most_bytes = most_bytes
        self._rest = bytearray()
        """The beginning of a line that has not ended."""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that end in this piece. Raises LineTooLong."""
        *ended, rest = data.split(b"\n")
        if ended:
            ended[0] = bytes(self._rest) + ended[0]
            self._rest.clear()
        self._rest += rest
        if len(self._rest) > self._most_bytes or any(
            len(line) > self._most_bytes for line in ended
        ):
            raise LineTooLong(f"a line exceeds {self._most_bytes} bytes")
        return [line.removesuffix(b"\r") for line in ended]

    def last(self) -> list[bytes]:
        """A last line without a line break."""
        rest, self._rest = bytes(self._rest).removesuffix(b"\r"), bytearray()
        return [rest] if rest else []
