"""The child of the fetch process that writes into one store, with the rights of one account."""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from wattline_runtime.data.fetch.account_child import AccountChild
from wattline_runtime.data.fetch.frames import MAX_TEXT_CHARS, ReadFailed
from wattline_runtime.data.fetch.opening import Opening
from wattline_runtime.data.fetch.writing import (
    MAX_ANSWER_BYTES,
    Beat,
    CheckpointCopied,
    CopyCheckpoint,
    FolderPut,
    FolderRead,
    Outcome,
    PutFolder,
    ReadFolder,
    Unwritten,
    Wish,
)

WRITE_MODULE = "wattline_runtime.data.fetch.write"

D = TypeVar("D")

_decode = msgspec.json.Decoder(Beat | Outcome).decode


class StoreWriter:
    """A child that writes into one store. Raises ReadFailed, as its methods do."""

    def __init__(self, opening: Opening, seen: Callable[[Beat], None] = lambda _: None) -> None:
        """`seen`: called with each sign of life."""
        self._child, self._seen = AccountChild(WRITE_MODULE, opening), seen
        self.pid = self._child.pid

    def read_folder(self, wish: ReadFolder) -> FolderRead:
        """Hash a folder, compare and check it."""
        return self._done(wish, FolderRead)

    def put_folder(self, folder: str, prefix: str = "", rate_bytes_s: int = 0) -> FolderPut:
        """Publish a folder as a version, at most at a rate; 0 = no limit."""
        return self._done(PutFolder(folder, prefix, rate_bytes_s), FolderPut)

    def copy_checkpoint(self, wish: CopyCheckpoint) -> CheckpointCopied:
        """Copy the newest checkpoint of a directory."""
        return self._done(wish, CheckpointCopied)

    def _done(self, wish: Wish, kind: type[D]) -> D:
        self._child.send(wish)
        while isinstance(found := self._line(), Beat):
            self._seen(found)
        if isinstance(found, Unwritten):
            raise ReadFailed(found.why, found.text[:MAX_TEXT_CHARS])
        if not isinstance(found, kind):
            raise ReadFailed("unreadable", "its writer sent another answer")
        return found

    def _line(self) -> Beat | Outcome:
        try:
            line = self._child.answers.readline(MAX_ANSWER_BYTES)
        except TimeoutError as error:
            raise ReadFailed("away", "its writer gives no sign of life") from error
        except OSError as error:
            raise ReadFailed("away", "its writer has ended") from error
        if not line.endswith(b"\n"):
            raise ReadFailed("away", "its writer has ended")
        try:
            return _decode(line)
        except msgspec.MsgspecError as error:
            raise ReadFailed("unreadable", "its writer sent no valid answer") from error

    def stop(self) -> None:
        """End the child, from any thread: the method that waits for it raises ReadFailed."""
        self._child.kill()

    def close(self) -> None:
        """End the child, whatever it waits for."""
        self._child.close()
