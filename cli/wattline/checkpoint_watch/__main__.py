"""Chooses what to resume from, runs the program, and follows its checkpoints. Ends as it ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from argparse import REMAINDER, ArgumentParser, Namespace
from types import FrameType

from wattline.rank import STACKS_SIGNAL, end_as, stacks_of
from wattline.task.environment import identity

from .records import Records, root_of
from .resume import NoneIntact, adopt, announce, await_choice, choose, left_over
from .watch import Watch

RESUME_FROM = "WATTLINE_RESUME_FROM"
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
"""For the program alone, which the keeper signals as well. Ignored rather than handled: the keeper
sends a stop signal to the topmost programs that handle it."""
NOT_FOUND_STATUS, NOT_EXECUTABLE_STATUS = 127, 126
NICENESS = 10


class Program:
    """The command as a child process; signals wake a wait for it."""

    def __init__(self, command: list[str], resume_from: str | None) -> None:
        """Raises OSError where it cannot be executed."""
        environment = {name: os.environ[name] for name in os.environ if name != RESUME_FROM}
        if resume_from is not None:
            environment[RESUME_FROM] = resume_from
        self._wake, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        self._process = subprocess.Popen(
            command,
            env=environment,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS),
        )
        for number in STOP_SIGNALS:  # only now: the program would inherit it
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        signal.signal(STACKS_SIGNAL, self._dump_stacks)

    def wait(self, within_s: float) -> int | None:
        """Its status once it has ended: negative = the signal. None: it runs."""
        status = self._process.poll()
        if status is None:
            ready, _, _ = select.select([self._wake], [], [], within_s)
            if ready:
                os.read(self._wake, 4096)
            status = self._process.poll()
        return status

    def _dump_stacks(self, _number: int, _frame: FrameType | None) -> None:
        os.write(2, stacks_of(self._process.pid))


def main(argv: list[str]) -> int:
    """Run the command. Returns its status: negative = the signal."""
    parser = ArgumentParser("wattline.checkpoint_watch")
    parser.add_argument("--has-run-before", action="store_true")
    parser.add_argument("--saved-step", type=int)
    parser.add_argument("--site", default="unknown")
    parser.add_argument("pattern")
    parser.add_argument("command", nargs=REMAINDER)
    options = parser.parse_args(argv)
    records, command = Records(root_of(options.pattern)), options.command
    watch = None
    try:
        if _number("WATTLINE_NODE_RANK"):
            resume_from = await_choice(records, identity(), options.site)
        else:
            watch, resume_from = _begin(records, options)
    except (NoneIntact, TimeoutError) as error:
        return _fail(str(error), 1)
    except OSError as error:
        return _fail(f"{records.folder} cannot be used: {error.strerror}", 1)
    try:
        program = Program(command, resume_from)
    except FileNotFoundError:
        return _fail(f"command not found: {command[0]}", NOT_FOUND_STATUS)
    except OSError as error:
        return _fail(f"{command[0]} cannot be executed: {error.strerror}", NOT_EXECUTABLE_STATUS)
    return _follow(program, watch)


def _begin(records: Records, options: Namespace) -> tuple[Watch, str | None]:
    """On the first node: what to resume from, for the others as well. Raises NoneIntact, OSError.

    Checkpoints that are passed over are reported after the one that is used, which would replace
    the report.
    """
    pattern = options.pattern
    if records.root.is_dir():
        records.load()
        adopt(pattern, records, has_run_before=options.has_run_before)
    choice = choose(pattern, records)
    watch = Watch(pattern, records, left_over(pattern, records), choice.record)
    choice.note_rejected()
    if os.environ.get("WATTLINE_FROM_SCRATCH", "") != "1":
        choice.check(records.root, options.saved_step)
    if _number("WATTLINE_NODES") > 1:
        announce(records, identity(), options.site, choice.record)
    return watch, None if choice.record is None else choice.record.path


def _number(variable: str) -> int:
    return int(os.environ.get(variable, "") or 0)


def _follow(program: Program, watch: Watch | None) -> int:
    os.nice(NICENESS)
    wait_s = 0.0
    while (status := program.wait(wait_s)) is None:
        wait_s = 3600.0 if watch is None else watch.look()
    if watch is not None:
        watch.finish(is_complete=status == 0)
    return status


def _fail(text: str, status: int) -> int:
    print(f"wattline: {text}", file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    end_as(main(sys.argv[1:]))
