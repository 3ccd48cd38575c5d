"""Checks a version of a data set against another, and shows what differs."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wattline import exits
from wattline.data.stores import store_errors
from wattline.failures import ActFailed
from wattline.verbs.run import Outcome
from wattline_protocol.text.toml_fields import Reader
from wattline_runtime.data import check_version

if TYPE_CHECKING:
    from wattline_runtime.data.columns.diff import Difference
    from wattline_runtime.data.columns.rules import Rules


def check_versions(
    *,
    new: str,
    against: str,
    rules: str | None,
    psi: float | None,
    nulls: float | None,
    outside: float | None,
    rows: str | None,
    ignore: tuple[str, ...],
    may_add: bool,
    bundle: str | None,
) -> Outcome:
    """The exit code is 1 if a rule is broken."""
    _require_packages()
    from wattline.data.compared import compared, read_rules
    from wattline_runtime.data.columns.check import check

    with store_errors():
        before, after = compared((against, new), bundle)
        limits = read_rules(Path(rules)) if rules is not None else before.rules()
        limits = replace(
            _with_flags(limits, psi, nulls, outside, rows),
            ignore=limits.ignore + ignore,
            may_add=may_add or limits.may_add,
        )
        verdict = check(before.summary(), after.summary(), limits)
    return Outcome(verdict, exits.OK if verdict.ok else exits.FAILED)


def diff_versions(*, old: str, new: str, bundle: str | None) -> "Difference":
    """Files, rows, columns and distributions of both."""
    _require_packages()
    from wattline.data.compared import compared
    from wattline_runtime.data.columns.diff import difference, file_changes

    with store_errors():
        before, after = compared((old, new), bundle)
        files = file_changes(before.hashes(), after.hashes())
        return difference(before.summary(), after.summary(), files)


def missing_package() -> str:
    """What to do where one that reads files is missing; "" where all are there."""
    missing = check_version.missing_package()
    return missing and f"reading data needs the package {missing}: pip install 'wattline[data]'"


def _require_packages() -> None:
    if missing := missing_package():
        raise ActFailed(missing)


def _with_flags(
    rules: "Rules",
    psi: float | None,
    nulls: float | None,
    outside: float | None,
    rows: str | None,
) -> "Rules":
    from wattline_runtime.data.columns.rules import PSI, SHARE, row_limits

    def limit(
        flag: str, value: float | None, reader: Reader[float], instead: float | None
    ) -> float | None:
        try:
            return instead if value is None else reader(value)
        except ValueError as error:
            raise ActFailed(f"{flag} {value:g}: {error}", exits.USAGE) from error

    try:
        row_shares = rules.rows if rows is None else row_limits([float(x) for x in rows.split(",")])
    except ValueError as error:
        raise ActFailed(f"--rows {rows}: expected two shares, as in 0.5,10", exits.USAGE) from error
    return replace(
        rules,
        psi=limit("--psi", psi, PSI, rules.psi),
        nulls=limit("--nulls", nulls, SHARE, rules.nulls),
        outside=limit("--range", outside, SHARE, rules.outside),
        rows=row_shares,
    )
