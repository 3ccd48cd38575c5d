"""A client of a job's terminal stays at the attempt that it attached to."""

import pytest

from wattline.client.errors import Conflict
from wattline.foreground.job_terminal import JobTerminal
from wattline_protocol.ids import AttemptNo, JobId, TaskNo, TaskRef
from wattline_protocol.wire.client_messages import Done
from wattline_protocol.wire.task_reports.terminals import (
    Attach,
    Attached,
    Detach,
    ReadTerminal,
    TerminalOutput,
    TerminalRequest,
    TerminalTaken,
    WriteTerminal,
)


class Terminals:
    """A scheduler in front of the newest attempt, which loses its attachments at will."""

    def __init__(self) -> None:
        self.attempt = 1
        self.is_attached = False
        self.typed: dict[int, bytes] = {}

    def get(self, request: TerminalRequest, _: type[object]) -> object:
        typed = self.typed.setdefault(self.attempt, b"")
        if isinstance(request, Attach):
            self.is_attached = True
            ref = TaskRef(JobId(1), TaskNo(0), AttemptNo(self.attempt))
            return Attached(ref, 0, len(typed))
        if not self.is_attached:
            raise Conflict("not attached")
        match request:
            case ReadTerminal(offset=offset):
                return TerminalOutput(b"", offset)
            case WriteTerminal(offset=offset, data=data):
                self.typed[self.attempt] = typed + data[len(typed) - offset :]
                return TerminalTaken(len(self.typed[self.attempt]))
            case Detach():
                self.is_attached = False
                return Done("detached")


@pytest.mark.parametrize("finds_out", ["read", "write"])
def test_what_was_typed_for_one_attempt_is_not_typed_into_the_next(finds_out: str) -> None:
    site = Terminals()
    terminal = JobTerminal(site, 1)  # type: ignore[arg-type]
    terminal.attach()
    assert terminal.write(b"ls\n") == 3
    site.is_attached = False
    assert terminal.write(b"rm -r run\n") == 0, "it attaches to the same attempt again"
    site.attempt, site.is_attached = 2, False
    with pytest.raises(Conflict, match="its attempt is over"):
        _ = terminal.read() if finds_out == "read" else terminal.write(b"rm -r run\n")
    assert not site.is_attached, "it holds the next attempt's terminal from no other client"
    for act in (terminal.read, lambda: terminal.write(b"rm -r run\n")):
        with pytest.raises(Conflict):
            act()
    assert site.typed == {1: b"ls\n", 2: b""}
