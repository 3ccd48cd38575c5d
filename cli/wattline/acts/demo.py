"""The demo."""

import sys
from pathlib import Path

from wattline import exits
from wattline.failures import ActFailed
from wattline.verbs.run import Outcome


def demo(
    *, burst: bool, lifecycle: bool, headless: bool, json_file: str | None, keep: str | None
) -> Outcome:
    """Run the demo; on a terminal inside the operator's terminal."""
    if sys.platform != "linux":
        raise ActFailed("the demo needs Linux: it reads /proc and simulates a Linux driver library")
    from wattline.demo.burst.demo import Burst
    from wattline.demo.guarantees import Guarantees
    from wattline.demo.lifecycle.demo import Lifecycle
    from wattline.demo.run import run_demo

    if burst and lifecycle:
        raise ActFailed("--burst and --lifecycle are two demos: choose one", exits.USAGE)
    report_file = Path(json_file) if json_file is not None else None
    if report_file is not None and not report_file.resolve().parent.is_dir():
        raise ActFailed(f"--json: no directory {report_file.parent}", exits.USAGE)
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    status = run_demo(
        Burst if burst else Lifecycle if lifecycle else Guarantees,
        with_terminal=is_terminal and not headless,
        json_file=report_file,
        keep=Path(keep) if keep is not None else None,
    )
    return Outcome(None, status)
