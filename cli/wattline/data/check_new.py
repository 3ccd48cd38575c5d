"""Checks a version before it is registered: the verdict is recorded with it."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from wattline.client import Client
from wattline.client.errors import NotFound
from wattline.data.checks import missing_package
from wattline.show.screen import put_error
from wattline_protocol.data.checks import DataCheck, Finding, recorded
from wattline_protocol.data.references import version_text
from wattline_protocol.data.requests import VersionView
from wattline_protocol.text.toml_fields import DocumentError
from wattline_runtime.data.add import NewVersion
from wattline_runtime.data.columns.formats import has_columns
from wattline_runtime.data.stores.interface import Store

if TYPE_CHECKING:
    from wattline_runtime.data.columns.summary import Summary

STABLE = "stable"


def check_new(client: Client, name: str, version: NewVersion, store: Store) -> DataCheck | None:
    """Puts the summary of its columns into the store, and compares it with that of the version
    before. None: there is nothing to check, or a package is missing. Raises StoreError, TreeError,
    and DocumentError for wrong rules of its own."""
    found = version.found(has_columns)
    first = next(found, None)
    if first is None:
        return None
    if missing := missing_package():
        put_error(f"columns are not checked: {missing}")
        return None
    from wattline.data.compared import read_rules
    from wattline_runtime.data.columns.reader_process import FileToRead, read_summary
    from wattline_runtime.data.columns.rules import RULES_FILE
    from wattline_runtime.data.summaries import put_summary

    summary = read_summary(FileToRead(one.path, one.at) for one in chain([first], found))
    for rules in version.found(RULES_FILE.__eq__):
        read_rules(Path(rules.at))
    put_summary(store, version.tree.sha256, summary)
    number = _number_before(client, name)
    verdict = recorded(tuple(_findings(client, name, number, summary)), number)
    if number or not verdict.ok:
        against = f" against {version_text(name, number)}" if number else ""
        put_error(f"check{against}: {'ok' if verdict.ok else verdict.text}")
    return verdict


def _number_before(client: Client, name: str) -> int:
    """Of the version that is approved as stable, else of the newest one without broken rules: drift
    does not become the measure of the next version by being added."""
    try:
        found = client.data_versions(name)
    except NotFound:
        return 0
    good = [one.number for one in found.versions if one.state == "published" and _is_good(one)]
    stable = found.about.aliases.get(STABLE, 0)
    return stable if stable in good else max(good, default=0)


def _is_good(version: VersionView) -> bool:
    """No rule is broken, or it was approved none the less."""
    return version.verdict is None or version.verdict.ok or bool(version.approved_by)


def _findings(client: Client, name: str, number: int, summary: "Summary") -> Iterator[Finding]:
    """Of a first version (number 0) files that cannot be read."""
    from wattline.data.compared import stored
    from wattline_runtime.data.columns.check import check
    from wattline_runtime.data.columns.rules import RULES_FILE, Rules
    from wattline_runtime.data.columns.summary import Summary
    from wattline_runtime.data.summaries import stored_summary

    if not number:
        yield from check(Summary(), summary, Rules(may_add=True)).columns
        return
    before = stored(client, version_text(name, number))
    try:
        rules = before.rules()
    except DocumentError as error:
        yield Finding(RULES_FILE, "readable", error.problems[0], "readable")
        return
    yield from check(stored_summary(before.store, before.sha256), summary, rules).columns
