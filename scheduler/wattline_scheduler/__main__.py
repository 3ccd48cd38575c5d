"""`python -m wattline_scheduler`: a site's scheduler, or a backup of a running one's store.

python -m wattline_scheduler --site DIR --state DIR [--recover] [--log-json]
python -m wattline_scheduler --state DIR --backup FILE
"""

import argparse
import sys
from contextlib import closing
from pathlib import Path

from wattline_scheduler.store.errors import StoreError
from wattline_scheduler.store.verify import DB_NAME, Verification


def main() -> int:
    """Parses the command line and runs until stopped."""
    parser = argparse.ArgumentParser(
        prog="wattline_scheduler",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--site", type=Path, help="site directory")
    parser.add_argument("--state", type=Path, required=True, help="state directory")
    parser.add_argument(
        "--recover",
        action="store_true",
        help="the state is a restored backup: raise the epoch above every epoch ever issued and "
        "count every node in full until it is heard",
    )
    parser.add_argument("--log-json", action="store_true", help="JSON log lines on a terminal too")
    parser.add_argument("--backup", type=Path, metavar="FILE", help="only copy the store to FILE")
    options = parser.parse_args()
    if options.backup is not None:
        return back_up(options.state, options.backup)
    if options.site is None:
        parser.error("--site DIR is needed to run a scheduler")
    verification = Verification(options.state / DB_NAME)
    # Imported meanwhile: the verification of a large store takes as long as all else together.
    from wattline_scheduler.shell import SchedulerConfig, run_scheduler

    with closing(verification):
        return run_scheduler(
            SchedulerConfig(
                options.site, options.state, options.recover, options.log_json, verification
            )
        )


def back_up(state: Path, target: Path) -> int:
    """Copies the store, also while its scheduler runs; returns the exit status."""
    from wattline_scheduler.store.file import copy_database

    try:
        copy_database(state / DB_NAME, target)
    except (StoreError, OSError) as error:
        sys.stderr.write(f"no backup was made: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
