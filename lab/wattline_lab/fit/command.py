"""The command line of a fit: reads traces, writes the constants, prints their table."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from wattline_lab.fit.traces import VARIABLE, TracesMissing, traces_folder

F = TypeVar("F")


@dataclass(frozen=True, slots=True)
class Fit(Generic[F]):
    """A set of constants that a package loads from a file."""

    module: str
    folders: Sequence[str]
    """Traces that it needs."""
    file: Path
    loaded: F
    fit: Callable[[Path], F]
    """From the folder of traces."""
    as_toml: Callable[[F], str]
    as_markdown: Callable[[F], str]

    def run(self, arguments: Sequence[str], description: str | None) -> int:
        """Exit status 2 where the traces are missing."""
        parser = argparse.ArgumentParser(prog=f"python -m {self.module}", description=description)
        parser.add_argument("traces", nargs="?", help=f"folder of traces; else ${VARIABLE}")
        parser.add_argument("--out", type=Path, default=self.file, help="default: that in use")
        parser.add_argument(
            "--table", action="store_true", help="print the loaded constants and stop"
        )
        given = parser.parse_args(arguments)
        if given.table:
            print(self.as_markdown(self.loaded))
            return 0
        try:
            fitted = self.fit(traces_folder(given.traces, self.folders))
        except TracesMissing as missing:
            print(f"{self.module}: {missing}", file=sys.stderr)
            return 2
        given.out.write_text(self.as_toml(fitted), encoding="utf-8")
        print(self.as_markdown(fitted))
        return 0
