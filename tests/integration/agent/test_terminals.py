"""A task on a real pseudo-terminal under a real keeper, and the agent's attachments to it."""

import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import structlog

from support.node.keepers import CONTEXT, LiveKeeper, keeper, order, ref
from support.node.simnode import wait_until
from wattline_agent.executor.launchers.terminal import RETAINED_BYTES, SOCKET_NAME
from wattline_agent.terminals.terminals import Terminals
from wattline_protocol.ids import TaskRef
from wattline_protocol.wire.task_reports.terminals import (
    Attached,
    CloseTerminal,
    OpenTerminal,
    ReadTerminal,
    TerminalAct,
    TerminalDone,
    TerminalOrder,
    TerminalOutput,
    TerminalTaken,
    WindowSize,
    WriteTerminal,
)

pytestmark = pytest.mark.timeout(60)

SIZE = WindowSize()
ON_THE_WAY_BYTES = 1_000_000
"""More than terminal, sockets and agent hold of output that no client reads."""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveKeeper]:
    with keeper(tmp_path_factory.mktemp("state")) as running:
        yield running


class Node:
    """The agent's part, and a client that reads and types."""

    def __init__(self, live: LiveKeeper, of: TaskRef, token: str = "a") -> None:
        self.live, self.ref, self.token = live, of, token
        self.terminals = Terminals(live.state_dir, structlog.get_logger())
        self.done: dict[int, TerminalDone] = {}
        self.number = 0
        self.shown, self.first, self.typed = b"", 0, 0
        self.over = ""

    def begin(self, act: TerminalAct) -> int:
        self.number += 1
        self.terminals.carry_out(TerminalOrder(self.number, act))
        return self.number

    def turn(self) -> None:
        watched = self.terminals.watched()
        ready = select.select(watched, [], [], min(self.terminals.due_in_s() or 0.05, 0.05))[0]
        self.terminals.receive(ready)
        self.done |= {one.request: one for one in self.terminals.answers()}

    def result(self, number: int) -> TerminalDone:
        def is_done() -> bool:
            self.turn()
            return number in self.done

        wait_until(is_done, f"answer {number}")
        return self.done.pop(number)

    def attach(self, size: WindowSize = SIZE) -> "Node":
        have = self.first + len(self.shown)
        done = self.result(self.begin(OpenTerminal(self.ref, self.token, size, have)))
        while done.error:  # its program is not there yet
            done = self.result(self.begin(OpenTerminal(self.ref, self.token, size, have)))
        assert isinstance(done.answer, Attached)
        self.first = done.answer.offset - len(self.shown)
        return self

    def read(self) -> None:
        at = self.first + len(self.shown)
        output = self.result(self.begin(ReadTerminal(self.token, at))).answer
        assert isinstance(output, TerminalOutput)
        assert output.offset == at
        self.shown += output.data
        self.over = output.over

    def until(self, holds: Callable[[bytes], bool], what: str) -> None:
        def is_so() -> bool:
            if not holds(self.shown):
                self.read()
            return holds(self.shown)

        wait_until(is_so, what)

    def type(self, keys: bytes, size: WindowSize = SIZE) -> None:
        act = WriteTerminal(self.token, self.typed, keys, size)
        taken = self.result(self.begin(act)).answer
        assert isinstance(taken, TerminalTaken)
        self.typed += len(keys)
        assert taken.taken == self.typed


@pytest.fixture
def started(live: LiveKeeper) -> Iterator[Callable[..., Node]]:
    """Starts a job on a terminal, or is another client of one."""
    with ExitStack() as stack:

        def start(job: int, *command: str, token: str = "a") -> Node:
            if command:
                live.runner.launch(order(*command, of=ref(job), pty=True), CONTEXT)
            node = Node(live, ref(job), token)
            stack.callback(lambda: node.terminals.close())
            return node

        yield start


def test_a_program_has_a_terminal_of_the_clients_size_and_gets_its_keys(
    live: LiveKeeper, started: Callable[..., Node]
) -> None:
    script = (
        "import os, signal, sys, time\n"
        "print(os.get_terminal_size(), os.isatty(0), os.getsid(0) == os.getpid(), flush=True)\n"
        "signal.signal(signal.SIGWINCH, lambda *_: print(os.get_terminal_size(), flush=True))\n"
        "try:\n"
        "    for line in sys.stdin: print('read', line.strip(), flush=True)\n"
        "except KeyboardInterrupt: sys.exit(3)\n"
    )
    node = started(1, "python3", "-c", f"input()\n{script}")
    node.attach(WindowSize(100, 30)).type(b"\n", WindowSize(100, 30))
    node.until(lambda shown: b"columns=100, lines=30) True True" in shown, "its size")
    node.type(b"", WindowSize(120, 40))
    node.until(lambda shown: b"columns=120, lines=40" in shown, "its new size")
    node.type(b"hello\n", WindowSize(120, 40))
    node.until(lambda shown: b"read hello" in shown, "what was typed")
    node.type(b"\x03", WindowSize(120, 40))
    while not node.over:
        node.read()
    assert node.over == "ended"
    end = live.until("ended", ref(1)).exit
    assert end is not None
    assert (end.kind, end.code) == ("exited", 3)
    assert live.log(ref(1)).encode() == node.shown, "its log has all that was shown"


def test_output_waits_for_a_client_that_does_not_read_and_for_no_absent_one(
    live: LiveKeeper, started: Callable[..., Node]
) -> None:
    node = started(2, "sh", "-c", "read go; yes | head -c 3000000; echo end; read rest")
    node.attach().type(b"\n")
    node.until(lambda shown: len(shown) > 1000, "the flood")

    def is_full() -> bool:
        node.turn()
        return not node.terminals.watched()

    wait_until(is_full, "the agent reads no more")
    logged = live.runner.read_log(ref(2), -1, 1).next_offset
    assert logged < len(node.shown) + ON_THE_WAY_BYTES
    node.begin(CloseTerminal("a"))
    wait_until(
        lambda: live.runner.read_log(ref(2), -5, 5).data == b"end\r\n",
        "it continues without a client",
    )
    late = started(2, token="b").attach()
    late.until(lambda shown: b"end" in shown, "the newest output")
    assert len(late.shown) < RETAINED_BYTES
    late.type(b"\n")
    live.until("ended", ref(2))


def test_input_is_held_while_the_task_is_frozen_and_typed_once(
    live: LiveKeeper, started: Callable[..., Node]
) -> None:
    node = started(3, "sh", "-c", "while read line; do echo got $line; done")
    node.attach().type(b"one\n")
    node.until(lambda shown: b"got one" in shown, "the first line")
    live.runner.freeze(ref(3))
    live.until("paused", ref(3))
    act = WriteTerminal("a", node.typed, b"two\n", SIZE)
    first, again = node.begin(act), node.begin(act)  # its client repeats it
    for _ in range(3):
        node.turn()
    assert again not in node.done
    live.runner.thaw(ref(3))
    assert node.result(again).answer == TerminalTaken(node.typed + 4)
    assert first != again
    node.until(lambda shown: b"got two" in shown, "the second line")
    live.runner.stop(ref(3), 5.0, "enough")
    live.until("ended", ref(3))
    assert live.log(ref(3)).count("got two") == 1


def test_another_agent_continues_where_the_client_is(
    live: LiveKeeper, started: Callable[..., Node]
) -> None:
    node = started(4, "bash", "--norc")
    node.attach().type(b"echo fi''rst\n")
    node.until(lambda shown: b"first" in shown, "the first command")
    node.terminals.close()
    node.terminals = Terminals(live.state_dir, structlog.get_logger())
    lost = node.result(node.begin(ReadTerminal("a", 0)))
    assert lost.error == "not attached"
    node.attach()
    assert node.first == 0, "it continues with the byte that the client lacks"
    node.type(b"echo sec''ond\n")
    node.until(lambda shown: b"second" in shown, "the second command")
    live.runner.stop(ref(4), 60.0, "enough")  # a shell ignores SIGTERM: it is hung up
    end = live.until("ended", ref(4)).exit
    assert end is not None
    assert end.signal == 1


def test_nothing_but_the_socket_of_the_task_is_connected_to(
    live: LiveKeeper, started: Callable[..., Node]
) -> None:
    node = started(5, "sleep", "60")
    node.attach()
    node.begin(CloseTerminal("a"))
    place = live.task_dir(ref(5)) / SOCKET_NAME
    place.unlink()

    def error() -> str:
        return node.result(node.begin(OpenTerminal(ref(5), "a", SIZE, 0))).error

    assert "has no terminal here: No such file" in error()
    place.symlink_to(live.state_dir / "keeper.sock")
    assert "no socket of the task" in error()
    place.unlink()
    place.write_text("x")
    assert "no socket of the task" in error()
    place.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(place))
        listener.listen()
        os.chown(place, 65534, 65534)
        assert "no socket of the task" in error()
    live.runner.kill(ref(5), "signaled", "enough")
    live.until("ended", ref(5))


def test_it_ends_with_its_command_whatever_else_has_the_terminal(
    live: LiveKeeper, started: Callable[..., Node]
) -> None:
    """The rest is shown; what was left behind it, which writes without end, is ended."""
    left = "setsid sh -c 'trap : HUP; yes left' & yes x | head -c 200000; echo end"
    node = started(6, "bash", "-c", f"read go; {left}; exit 4")
    node.attach().type(b"\n")
    while not node.over:
        node.read()
    end = live.until("ended", ref(6)).exit
    assert end is not None
    assert end.code == 4
    assert b"end\r\n" in node.shown
    assert node.shown.count(b"x\r\n") == 100_000
    wait_until(lambda: not live.processes(ref(6)), "no process is left")
