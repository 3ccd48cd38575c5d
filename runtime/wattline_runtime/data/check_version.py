"""The verdict on a new version: its columns against those of the version before, in one store."""

from collections.abc import Iterator
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wattline_protocol.data.checks import DataCheck, Finding, recorded
from wattline_protocol.text.toml_fields import DocumentError
from wattline_runtime.data.add import NewVersion
from wattline_runtime.data.columns.formats import has_columns
from wattline_runtime.data.stores.interface import Store

if TYPE_CHECKING:
    from wattline_runtime.data.columns.summary import Summary

PACKAGES = ("numpy", "pyarrow")


class Before(NamedTuple):
    """The version that a new one is compared with."""

    number: int = 0
    """0 = the new one is the first: only what cannot be read is found."""
    sha256: str = ""
    """Of its manifest."""


class Checked(NamedTuple):
    """A new version's columns, and what is wrong with them."""

    summary: "Summary"
    verdict: DataCheck

    def put(self, store: Store, sha256: str) -> None:
        """Leave the summary in the store, for the next check. Raises StoreError."""
        from wattline_runtime.data.summaries import put_summary

        put_summary(store, sha256, self.summary)


def missing_package() -> str:
    """One that reads files and is missing; empty = all are there."""
    return next((name for name in PACKAGES if find_spec(name) is None), "")


def has_any_columns(version: NewVersion) -> bool:
    """Whether there is something to check."""
    return next(version.found(has_columns), None) is not None


def check_version(version: NewVersion, store: Store, before: Before) -> Checked | None:
    """None where there is nothing to check, or a package is missing. Raises StoreError,
    ManifestError, TreeError, and DocumentError for wrong rules of its own."""
    found = version.found(has_columns)
    first = next(found, None)
    if first is None or missing_package():
        return None
    from wattline_runtime.data.columns.reader_process import FileToRead, read_summary
    from wattline_runtime.data.columns.rules import MAX_RULES_BYTES, RULES_FILE, parse_rules

    summary = read_summary(FileToRead(one.path, one.at) for one in chain([first], found))
    for rules in version.found(RULES_FILE.__eq__):
        if rules.size > MAX_RULES_BYTES:
            raise DocumentError([f"{RULES_FILE} is longer than {MAX_RULES_BYTES >> 20} MiB"])
        parse_rules(Path(rules.at).read_text(encoding="utf-8"), RULES_FILE)
    return Checked(summary, recorded(tuple(_findings(store, before, summary)), before.number))


def _findings(store: Store, before: Before, summary: "Summary") -> Iterator[Finding]:
    from wattline_runtime.data.columns.check import check
    from wattline_runtime.data.columns.rules import RULES_FILE, Rules
    from wattline_runtime.data.columns.summary import Summary
    from wattline_runtime.data.summaries import stored_rules, stored_summary

    if not before.number:
        yield from check(Summary(), summary, Rules(may_add=True)).columns
        return
    try:
        rules = stored_rules(store, before.sha256)
    except DocumentError as error:
        yield Finding(RULES_FILE, "readable", error.problems[0], "readable")
        return
    yield from check(stored_summary(store, before.sha256), summary, rules).columns
