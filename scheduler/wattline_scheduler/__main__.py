"""`python -m wattline_scheduler`: a site's scheduler, without the `wattline` command."""

import argparse
import sys
from pathlib import Path

from wattline_scheduler.shell import SchedulerConfig, run_scheduler


def main() -> int:
    """Parse the command line and run until stopped."""
    parser = argparse.ArgumentParser(prog="wattline_scheduler", description=__doc__)
    parser.add_argument("--site", type=Path, required=True, help="site directory")
    parser.add_argument("--state", type=Path, required=True, help="state directory")
    parser.add_argument(
        "--recover",
        action="store_true",
        help="the state is a restored backup: raise the epoch above everything ever given out and "
        "count every node in full until it is heard",
    )
    parser.add_argument("--log-json", action="store_true", help="JSON log lines on a terminal too")
    options = parser.parse_args()
    return run_scheduler(
        SchedulerConfig(options.site, options.state, options.recover, options.log_json)
    )


if __name__ == "__main__":
    sys.exit(main())
