"""Splits a body that arrives in pieces into its lines. No I/O."""

import msgspec

NO_JSON = "the output of the model is no JSON"
_value = msgspec.json.Decoder(msgspec.Raw)


def one_line(data: bytes) -> bytes | None:
    """A value of JSON without line breaks, which are only between its tokens; None: it is none,
    or several, which would be fields of whatever it is put into."""
    try:
        _value.decode(data)
        data.decode()  # of texts, the decoder above skips the characters
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
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
