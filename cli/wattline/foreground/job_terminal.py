"""A client of the terminal of a job: output and input by offsets, over lost connections."""

import secrets
import threading
from contextlib import suppress

import msgspec

from wattline.client.asking import RequestClient
from wattline.client.errors import Conflict, WattlineError
from wattline_protocol.ids import JobId, TaskRef
from wattline_protocol.wire.client_messages import Done
from wattline_protocol.wire.task_reports.terminals import (
    MAX_INPUT_BYTES,
    Attach,
    Attached,
    Detach,
    ReadTerminal,
    TerminalOutput,
    TerminalTaken,
    WindowSize,
    WriteTerminal,
)


class JobTerminal:
    """One attachment to one attempt. One thread may read while another writes.

    What fails with Unreachable or Unavailable may be repeated: no output is shown twice, and no
    input typed twice. After a restart of scheduler or agent it attaches again by itself; Conflict:
    that attempt is over. What was typed for its program is not typed into that of the next one.
    """

    def __init__(self, client: RequestClient, job: int) -> None:
        self._client, self._job = client, JobId(job)
        self._token = secrets.token_hex(16)
        self._lock = threading.Lock()
        self._attached_count, self._is_left = 0, False
        self._ref: TaskRef | None = None
        self._shown = self._written = 0
        self.size = WindowSize()
        """Of the window; sent with the next write."""

    def attach(self) -> Attached:
        """Attach, or attach again. Raises RequestDenied, Unreachable."""
        with self._lock:
            return self._attach()

    def _attach(self) -> Attached:
        is_again = self._ref is not None
        request = Attach(self._job, self._token, self.size, self._shown, is_again)
        attached = self._client.get(request, Attached)
        if self._ref not in (None, attached.ref):
            self._is_left = True
            with suppress(WattlineError):  # else it is closed there as that of a lost client
                self._client.get(Detach(self._token), Done)
            raise Conflict("its attempt is over, and the job runs again")
        self._ref = attached.ref
        if not is_again:
            self._shown = attached.offset
        # Fewer bytes have arrived only where another client was attached meanwhile.
        self._written = min(self._written, attached.taken)
        self._attached_count += 1
        return attached

    def read(self) -> TerminalOutput:
        """The next output, which may be empty after some seconds; `offset` is after what was read
        before where output is missing. Raises RequestDenied, Unreachable."""
        count = self._count()
        try:
            output = self._client.get(ReadTerminal(self._token, self._shown), TerminalOutput)
        except Conflict:
            self._attach_after(count)
            return TerminalOutput(b"", self._shown)
        if output.offset < self._shown:
            data = output.data[self._shown - output.offset :]
            output = msgspec.structs.replace(output, data=data, offset=self._shown)
        self._shown = output.offset + len(output.data) if output.data else self._shown
        return output

    def write(self, data: bytes) -> int:
        """Send the first bytes of the input; returns how many have arrived. Raises RequestDenied,
        Unreachable."""
        count, piece = self._count(), data[:MAX_INPUT_BYTES]
        try:
            request = WriteTerminal(self._token, self._written, piece, self.size)
            taken = self._client.get(request, TerminalTaken).taken
        except Conflict:
            self._attach_after(count)
            return 0
        new = min(max(taken - self._written, 0), len(piece))
        self._written += new
        return new

    def _count(self) -> int:
        """Of attachments so far; waits while the other thread attaches, perhaps elsewhere."""
        with self._lock:
            self._check_left()
            return self._attached_count

    def _check_left(self) -> None:
        if self._is_left:
            raise Conflict("this client has detached")

    def _attach_after(self, count: int) -> None:
        """Attach again, unless the other thread has done so."""
        with self._lock:
            self._check_left()
            if count == self._attached_count:
                self._attach()

    def detach(self) -> None:
        """End the attachment; the job runs on. Raises RequestDenied, Unreachable."""
        with self._lock:
            self._is_left = True
        self._client.get(Detach(self._token), Done)
