"""Checks a version before it is registered: the verdict is recorded with it."""

from wattline import exits
from wattline.client import Client
from wattline.client.errors import NotFound
from wattline.data.checks import missing_package
from wattline.failures import ActFailed
from wattline.show.screen import put_error
from wattline_protocol.data.checks import DataCheck
from wattline_protocol.data.references import version_text
from wattline_protocol.data.requests import VersionView
from wattline_protocol.text.toml_fields import DocumentError
from wattline_runtime.data.add import NewVersion
from wattline_runtime.data.check_version import Before, check_version, has_any_columns
from wattline_runtime.data.stores.interface import Store

STABLE = "stable"


def check_new(client: Client, name: str, version: NewVersion, store: Store) -> DataCheck | None:
    """Puts the summary of its columns into the store, and compares it with that of the version
    before. None: there is nothing to check, or a package is missing. Raises StoreError, TreeError,
    and ActFailed for wrong rules of its own."""
    if not has_any_columns(version):
        return None
    if missing := missing_package():
        put_error(f"columns are not checked: {missing}")
        return None
    before = _before(client, name)
    try:
        checked = check_version(version, store, before)
    except (DocumentError, UnicodeDecodeError) as error:
        raise ActFailed(str(error), exits.USAGE) from error
    if checked is None:
        return None
    checked.put(store, version.tree.sha256)
    verdict = checked.verdict
    if before.number or not verdict.ok:
        against = f" against {version_text(name, before.number)}" if before.number else ""
        put_error(f"check{against}: {'ok' if verdict.ok else verdict.text}")
    return verdict


def _before(client: Client, name: str) -> Before:
    """The version approved as stable, else the newest one without broken rules: a version that has
    drifted does not become the reference of the next one."""
    try:
        found = client.data_versions(name)
    except NotFound:
        return Before()
    good = {one.number: one for one in found.versions if one.state == "published" and _is_good(one)}
    stable = found.about.aliases.get(STABLE, 0)
    number = stable if stable in good else max(good, default=0)
    return Before(number, good[number].sha256) if number else Before()


def _is_good(version: VersionView) -> bool:
    """No rule is broken, or it was approved none the less."""
    return version.verdict is None or version.verdict.ok or bool(version.approved_by)
