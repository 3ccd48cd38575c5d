"""Keys for the client itself, as in ssh(1): `~.` after Enter detaches. Pure."""

from enum import Enum

TILDE, LINE_ENDS = ord("~"), b"\r\n"


class Key(Enum):
    """What the user asks of the client."""

    DETACH = ord(".")
    HELP = ord("?")


KEYS = {key.value: key for key in Key}
HELP_TEXT = "after Enter: ~. detaches, the job runs on; ~~ types ~; ~? shows this"


class EscapeKeys:
    """Separates keys for the client from those for the program."""

    def __init__(self) -> None:
        self._is_line_start, self._has_tilde = True, False

    def feed(self, typed: bytes) -> list[bytes | Key]:
        """Input for the program, and keys for the client, in order."""
        found: list[bytes | Key] = []
        data = bytearray()
        for byte in typed:
            if self._has_tilde:
                self._has_tilde = False
                if byte in KEYS:
                    found += [bytes(data), KEYS[byte]]
                    data.clear()
                    self._is_line_start = True
                    continue
                data.append(TILDE)
                if byte == TILDE:
                    self._is_line_start = False
                    continue
            elif byte == TILDE and self._is_line_start:
                self._has_tilde = True
                continue
            data.append(byte)
            self._is_line_start = byte in LINE_ENDS
        found.append(bytes(data))
        return [one for one in found if one != b""]
