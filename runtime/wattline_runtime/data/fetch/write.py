"""Publishes folders of the node in a store: the child of a fetch process.

It keeps the rights of the account of the job's owner alone: it reads what that account may read,
and writes where its keys may write. It may be killed at any moment: a version without a manifest
does not exist, and the next child finds the objects that are there.
"""

import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from wattline.task.hashing import hashes
from wattline_protocol.text.visible import visible_line
from wattline_runtime.data.checkpoints import copy_newest
from wattline_runtime.data.fetch.folders import Folders, Progress
from wattline_runtime.data.fetch.frames import MAX_TEXT_CHARS
from wattline_runtime.data.fetch.opening import Failures, Opening, open_as_account, why_of
from wattline_runtime.data.fetch.pace import Pace, Paced
from wattline_runtime.data.fetch.writing import (
    BEAT_S,
    Beat,
    CheckpointCopied,
    Outcome,
    PutFolder,
    ReadFolder,
    Unwritten,
    Wish,
)
from wattline_runtime.data.stores.interface import Store

_decode = msgspec.json.Decoder(Wish).decode
_encode = msgspec.json.Encoder().encode


class _Answers:
    """Lines to the fetch process; signs of life between them."""

    def __init__(self, out: BinaryIO) -> None:
        self._out, self._lock = out, threading.Lock()
        self.progress = Progress()
        threading.Thread(target=self._beat, daemon=True).start()

    def say(self, one: Beat | Outcome) -> None:
        with self._lock:
            self._out.write(_encode(one) + b"\n")
            self._out.flush()

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_S)
            try:
                self.say(self.progress.beat())
            except OSError:  # the fetch process has ended: the copy is not needed
                os._exit(0)


def main(wishes: BinaryIO, out: BinaryIO) -> None:
    """Carry out wishes until there are no more."""
    line = wishes.readline()
    if not line:  # the fetch process has ended
        return
    opening = msgspec.json.decode(line, type=Opening)
    store: Store | None = None
    failed = Unwritten("away", "")
    hashes()  # imports what the account may have no access to
    try:  # before there are threads
        store = open_as_account(opening)
    except Failures as error:
        failed = _unwritten(error)
    answers = _Answers(out)
    folders = Folders(answers.progress)
    for line in wishes:
        answers.say(failed if store is None else _done(store, folders, _decode(line)))


def _done(store: Store, folders: Folders, wish: Wish) -> Outcome:
    try:
        if isinstance(wish, ReadFolder):
            return folders.read(store, wish)
        part = Paced(store, wish.prefix, Pace(wish.rate_bytes_s))
        if isinstance(wish, PutFolder):
            return folders.put(part, wish)
        copied = copy_newest(part, Path(wish.home), wish.attempt, wish.recorded)
        return CheckpointCopied(*copied[:2], visible_line(copied.left)[:MAX_TEXT_CHARS])
    except Failures as error:
        return _unwritten(error)


def _unwritten(error: Exception) -> Unwritten:
    return Unwritten(why_of(error), visible_line(str(error))[:MAX_TEXT_CHARS])


if __name__ == "__main__":
    with suppress(ConnectionError, msgspec.DecodeError):  # the fetch process is gone
        main(sys.stdin.buffer, sys.stdout.buffer)
    os._exit(0)  # its threads may still write
