"""Sends lines of JSON from stdin to a service as a record stream, and prints the answers.

    python record_client.py http://127.0.0.1:7413 digits camera-1 < inputs.jsonl > answers.jsonl

Each record is answered exactly once and in order, though the gateway or the network may fail
meanwhile. The API key is in $WATTLINE_API_KEY. Copy the class and change where records come from.
"""

import json
import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

WINDOW = 32
"""Records without an answer; the gateway takes up to 64."""
RETRY_S = 0.2
FINAL = ("unauthorized", "seq_reused", "malformed", "body_too_large")
"""Ends that another connection would not change."""


class RecordStream:
    """Records in by a thread, answers out; connects again where that helps."""

    def __init__(self, url: str, service: str, stream_id: str, key: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme != "http":
            raise ValueError(f"{url}: this client speaks http:// only; put a proxy before https://")
        self._address = (parts.hostname or "", parts.port or 80)
        self._head = (
            f"POST /v1/services/{service}/stream HTTP/1.1\r\nhost: {parts.netloc}\r\n"
            f"api-key: {key}\r\ntransfer-encoding: chunked\r\nwattline-stream-id: {stream_id}\r\n"
        )
        self._waiting: deque[bytes] = deque()
        """Records without an answer: they are sent again on the next connection."""
        self._room = threading.Semaphore(WINDOW)
        self._sending = threading.Lock()
        self._socket: socket.socket | None = None
        self._has_all = False

    def answers(self, inputs: Iterable[str]) -> Iterator[dict[str, Any]]:
        """The answer to each input, which is JSON. Raises RuntimeError for a refusal."""
        threading.Thread(target=self._send_all, args=(inputs,), daemon=True).start()
        seq = 0
        while not (self._has_all and not self._waiting):
            try:
                for line in self._lines(after=seq):
                    answer: dict[str, Any] = json.loads(line)
                    if "end" in answer:
                        if answer["end"]["reason"] in FINAL:
                            raise RuntimeError(answer["end"]["message"])
                        break
                    seq = answer["seq"]
                    self._waiting.popleft()
                    self._room.release()
                    yield answer
            except (OSError, HTTPException):
                time.sleep(RETRY_S)

    def _lines(self, after: int) -> Iterator[bytes]:
        """The lines of one connection, which has the records behind `after`."""
        if self._socket is not None:
            self._socket.close()  # what the other thread sends there fails
        with self._sending:
            self._socket = socket.create_connection(self._address)
            head = f"{self._head}wattline-stream-after: {after}\r\n\r\n"
            self._socket.sendall(head.encode())
            for record in self._waiting:
                self._socket.sendall(_chunk(record))
            if self._has_all:
                self._socket.sendall(_chunk(b""))
        response = HTTPResponse(self._socket, method="POST")
        response.begin()
        if response.status in (400, 401, 403, 404):
            raise RuntimeError(response.read().decode())
        while (line := response.readline()).endswith(b"\n"):
            yield line

    def _send_all(self, inputs: Iterable[str]) -> None:
        for one in inputs:
            self._room.acquire()
            record = b'{"input":' + one.strip().encode() + b"}\n"
            with self._sending:
                self._waiting.append(record)
                self._try_to_send(record)
        with self._sending:
            self._has_all = True
            self._try_to_send(b"")

    def _try_to_send(self, record: bytes) -> None:
        """What is lost here is sent again on the next connection."""
        try:
            if self._socket is not None:
                self._socket.sendall(_chunk(record))
        except OSError:
            return


def _chunk(data: bytes) -> bytes:
    """A chunk of the body; an empty one ends it."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def main() -> None:
    """Stdin to stdout."""
    url, service, stream_id = sys.argv[1:]
    try:
        stream = RecordStream(url, service, stream_id, os.environ.get("WATTLINE_API_KEY", ""))
        for answer in stream.answers(sys.stdin):
            print(json.dumps(answer), flush=True)
    except (RuntimeError, ValueError) as error:
        sys.exit(f"record_client: {error}")


if __name__ == "__main__":
    main()
