"""Reads keys of one store and writes them to standard output: the child of a fetch process.

It keeps the rights of the account of the job's owner alone, and is not trusted: whoever reads its
output checks the hash of every byte. Small objects are requested some ahead, for a store may take
long to begin an answer.
"""

import os
import queue
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import BinaryIO

import msgspec

from wattline_runtime.data.fetch.frames import (
    MAX_TEXT_CHARS,
    Failure,
    Request,
    write_end,
    write_frame,
)
from wattline_runtime.data.fetch.opening import Failures, Opening, open_as_account, why_of
from wattline_runtime.data.stores.interface import NotInStore, Store

AHEAD = 16
"""Answers begun at a time."""

Begun = tuple[bytes, Iterator[bytes]]


def main(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    line = requests.readline()
    if not line:  # the fetch process has ended
        return
    opening = msgspec.json.decode(line, type=Opening)
    begun: queue.Queue[Future[Begun] | None] = queue.Queue(AHEAD)
    opened: Future[Store] = Future()
    try:
        opened.set_result(open_as_account(opening))
    except Exception as error:
        opened.set_exception(error)
    writer = threading.Thread(target=_answer_all, args=(begun, answers), daemon=True)
    writer.start()
    with ThreadPoolExecutor(AHEAD) as pool:
        for line in requests:
            begun.put(pool.submit(_begin, opened, msgspec.json.decode(line, type=Request)))
        begun.put(None)
        writer.join()


def _begin(opened: "Future[Store]", request: Request) -> Begun:
    store, key = opened.result(), request.key
    if request.is_size:
        size = store.size(key)
        if size is None:
            raise NotInStore(key)
        return str(size).encode(), iter(())
    chunks = iter(store.read(key))
    return next(chunks, b""), chunks


def _answer_all(begun: "queue.Queue[Future[Begun] | None]", out: BinaryIO) -> None:
    try:
        while (one := begun.get()) is not None:
            write_end(out, _answer(one, out))
    except ConnectionError:  # the fetch process is gone; the main thread may wait for the queue
        os._exit(0)


def _answer(one: "Future[Begun]", out: BinaryIO) -> Failure | None:
    try:
        first, rest = one.result()
        write_frame(out, first)
        for chunk in rest:
            write_frame(out, chunk)
    except Failures as error:
        return Failure(why_of(error), str(error)[:MAX_TEXT_CHARS])
    return None


if __name__ == "__main__":
    with suppress(ConnectionError, msgspec.DecodeError):  # the fetch process is gone
        main(sys.stdin.buffer, sys.stdout.buffer)
    os._exit(0)  # its threads may still read
