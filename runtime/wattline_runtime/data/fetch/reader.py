"""The child of the fetch process that reads one store, with the rights of one account."""

from collections.abc import Iterator

from wattline_runtime.data.fetch.account_child import AccountChild
from wattline_runtime.data.fetch.frames import ReadFailed, Request, read_frames
from wattline_runtime.data.fetch.opening import Opening

READ_MODULE = "wattline_runtime.data.fetch.read"
MAX_DIGITS = 18


class StoreReader:
    """A child that reads one store. Raises ReadFailed where it cannot run."""

    def __init__(self, opening: Opening) -> None:
        self._child = AccountChild(READ_MODULE, opening)

    def request(self, key: str) -> None:
        """Ask for a key; the answers come in the same order."""
        self._child.send(Request(key))

    def size(self, key: str) -> int:
        """Size of a key, asked for while no answer is due. Raises ReadFailed."""
        self._child.send(Request(key, is_size=True))
        digits = b"".join(self.answer())
        if not digits.isdigit() or len(digits) > MAX_DIGITS:
            raise ReadFailed("unreadable", "its reader sent no size")
        return int(digits)

    def answer(self) -> Iterator[bytes]:
        """The bytes of the next answer. Raises ReadFailed."""
        return read_frames(self._child.answers)

    def close(self) -> None:
        """End the child, whatever it waits for."""
        self._child.close()
