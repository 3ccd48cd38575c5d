"""Answers many inputs by a batch of a gateway: rows in, results out."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from wattline import exits
from wattline.client.errors import Unreachable
from wattline.client.gateway_http import BatchView, GatewayHttp
from wattline.failures import ActFailed
from wattline.show.screen import put, put_error
from wattline.verbs.run import Outcome
from wattline_protocol.text.wording import counted

URL = "WATTLINE_URL"
KEY = "WATTLINE_API_KEY"
PATIENCE_S = 60.0
"""How long a gateway may be away while results are read."""
RETRY_S = 0.5
MAX_KEY_BYTES = 4096

Write = Callable[[bytes], None]


def infer(
    *,
    name: str,
    url: str | None,
    key_file: str | None,
    resume: str | None,
    out: str | None,
    cancel: str | None,
) -> Outcome:
    """Create a batch, or resume one, and write its results; the exit code is 1 if a row failed."""
    if resume is not None and cancel is not None:
        raise ActFailed("--resume and --cancel exclude each other", exits.USAGE)
    gateway = GatewayHttp(gateway_url(url), gateway_key(key_file))
    if cancel is not None:
        found = gateway.cancel(_of(gateway.batch(cancel), name).id)
        put_error(f"batch {found.id}: {found.status}; {_counts(found)}")
        return Outcome(None)
    with _output(out) as (write, done):
        if done and resume is None:
            text = f"{out} has {counted(done, 'result')}; use --resume ID, or another file"
            raise ActFailed(text, exits.USAGE)
        batch = _of(gateway.batch(resume), name) if resume else _created(gateway, name)
        try:
            ended = _follow(gateway, batch, write, done)
        except (KeyboardInterrupt, Unreachable) as error:
            put_error(f"wattline: batch {batch.id} runs on. {_hint(name, batch.id)}")
            if isinstance(error, Unreachable):
                raise
            return Outcome(None, exits.INTERRUPTED)
    return Outcome(None, _status(ended))


def _hint(name: str, batch_id: str) -> str:
    again = f"wattline infer {name} --resume {batch_id}"
    return f"Get its results: {again}; cancel it: wattline infer {name} --cancel {batch_id}"


def _created(gateway: GatewayHttp, name: str) -> BatchView:
    if sys.stdin.isatty():
        text = 'rows are read from stdin: wattline infer NAME < in.jsonl, a line {"input": …} each'
        raise ActFailed(text, exits.USAGE)
    batch = gateway.create(name, sys.stdin.buffer)
    total = counted(batch.request_counts.total, "row")
    put_error(f"batch {batch.id}: {total}; it runs on after Ctrl-C. {_hint(name, batch.id)}")
    return batch


def _of(batch: BatchView, name: str) -> BatchView:
    if batch.service != name:
        text = f"batch {batch.id} is of service {batch.service}, not of {name}"
        raise ActFailed(text, exits.USAGE)
    return batch


def _follow(gateway: GatewayHttp, batch: BatchView, write: Write, done: int) -> BatchView:
    """Write results until the batch has ended and all are written."""
    if done > batch.request_counts.total:
        text = (
            f"the file has {counted(done, 'line')}, more than the batch has rows: it is another's"
        )
        raise ActFailed(text, exits.USAGE)
    until_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            for lines in gateway.results(batch.id, done):
                write(lines)
                done += lines.count(b"\n")
                until_s = time.monotonic() + PATIENCE_S
            batch = gateway.batch(batch.id)
            until_s = time.monotonic() + PATIENCE_S
        except Unreachable:
            if time.monotonic() >= until_s:
                raise
        if not batch.is_open and done >= batch.request_counts.total:
            return batch
        time.sleep(RETRY_S)


def _status(batch: BatchView) -> int:
    counts = batch.request_counts
    if not counts.failed and batch.status == "completed":
        return exits.OK
    why = f": {batch.reason}" if batch.reason else ""
    put_error(f"wattline: batch {batch.status}{why}; {_counts(batch)}")
    return exits.FAILED


def _counts(batch: BatchView) -> str:
    counts = batch.request_counts
    return f"{counts.completed} of {counted(counts.total, 'row')} completed, {counts.failed} failed"


# --- what it is given


def gateway_url(url: str | None) -> str:
    """Raises ActFailed if none is named."""
    found = url or os.environ.get(URL, "")
    if not found:
        text = f"no gateway is named: give --url http://HOST:PORT, or set {URL}"
        raise ActFailed(text, exits.USAGE)
    return found


def gateway_key(key_file: str | None) -> str:
    """Empty: the gateway is open."""
    if key_file is None:
        return os.environ.get(KEY, "").strip()
    try:
        with Path(key_file).open("rb") as file:
            return file.read(MAX_KEY_BYTES).decode("ascii", "replace").strip()
    except OSError as error:
        raise ActFailed(f"--key-file {key_file}: {error.strerror}", exits.USAGE) from error


@contextmanager
def _output(out: str | None) -> Iterator[tuple[Write, int]]:
    """How to write results, and how many there are already."""
    if out is None:
        yield put, 0
        return
    try:
        with Path(out).open("a+b") as file:
            yield _writer(file), _results_in(file, out)
    except OSError as error:
        raise ActFailed(f"--out {out}: {error.strerror}", exits.FAILED) from error


def _writer(file: BinaryIO) -> Write:
    def write(lines: bytes) -> None:
        file.write(lines)
        file.flush()

    return write


def _results_in(file: BinaryIO, out: str) -> int:
    """Results of a batch in a file, numbered from 1; one that a crash has torn is cut off. Any
    other file is left alone."""
    file.seek(0)
    count = size_bytes = 0
    for line in file:
        start = b'{"line":%d,' % (count + 1)
        if line[: len(start)] != start[: len(line)]:
            text = f"line {count + 1} is no result of a batch; name another file"
            raise ActFailed(f"--out {out}: {text}", exits.USAGE)
        if not line.endswith(b"\n"):
            break
        count += 1
        size_bytes += len(line)
    file.truncate(size_bytes)
    return count
