"""One run of the demo: set up, run, clean up, report."""

import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import msgspec

from wattline import exits
from wattline.demo.play import Demo, Report
from wattline.demo.processes import adopt_orphans
from wattline.demo.steps import Pace
from wattline.failures import ActFailed

Handler = Callable[[int, FrameType | None], None] | signal.Handlers


def run_demo(
    kind: type[Demo], *, with_terminal: bool, json_file: Path | None, keep: Path | None
) -> int:
    """Returns the exit code: 0 only if everything succeeded."""
    from wattline.show import screen

    adopt_orphans()
    with _signals_as_interrupts(), _root(keep) as root:
        demo = _play_in_terminal(kind, root) if with_terminal else _play_headless(kind, root)
        report, shown = demo.judged()
    screen.put(shown)
    if json_file is not None:
        _write(report, json_file)
    return exits.OK if report.ok else exits.FAILED


def _play_headless(kind: type[Demo], root: Path) -> Demo:
    from rich.console import Console

    console = Console(stderr=True)

    def show(elapsed_s: float, text: str) -> None:
        console.print(f"[dim]{elapsed_s:6.1f} s[/]  {text}", highlight=False, soft_wrap=True)

    demo = kind(root, Pace(show))
    try:
        demo.open()
        demo.play()
    finally:
        with _undisturbed():
            demo.close()
    return demo


def _play_in_terminal(kind: type[Demo], root: Path) -> Demo:
    """Run the terminal over the site; the end of either ends the other."""
    from wattline_tui.app import TopApp
    from wattline_tui.client import ClientFeed

    pace = Pace(lambda _elapsed_s, _text: None)
    demo = kind(root, pace)
    print(demo.stage.runs_as.text, file=sys.stderr)
    player = threading.Thread(target=demo.play, name="script")
    try:
        demo.open()
        app = TopApp(ClientFeed(demo.client()))

        def play() -> None:
            demo.play()
            if app.is_running:
                app.call_from_thread(app.exit)

        player = threading.Thread(target=play, name="script")
        player.start()
        app.run()
    finally:
        pace.leave()
        with _undisturbed():
            if player.is_alive():
                player.join()
            demo.close()
    return demo


@contextmanager
def _root(keep: Path | None) -> Iterator[Path]:
    """A temporary folder: removed at the end, unless it is `keep`."""
    if keep is not None:
        if keep.exists() and any(keep.iterdir()):
            raise ActFailed(
                f"{keep} is not empty; the demo requires an empty directory", exits.USAGE
            )
        yield keep.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="wattline-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    """Make SIGTERM and a closed terminal end the demo as Ctrl-C does: with a full clean-up."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled(interrupt, signal.SIGTERM, signal.SIGHUP):
        yield


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Complete the clean-up, however often Ctrl-C is pressed; it is bounded in time."""
    with _handled(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        yield


@contextmanager
def _handled(how: Handler, *numbers: signal.Signals) -> Iterator[None]:
    before = {number: signal.signal(number, how) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write(report: Report, json_file: Path) -> None:
    data = msgspec.json.format(msgspec.json.encode(report), indent=2)
    json_file.write_bytes(data + b"\n")
    print(f"Report written to {json_file}.", file=sys.stderr)
