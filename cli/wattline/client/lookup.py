"""Selects the join bundle of a client when none is given."""

import os
from collections.abc import Mapping
from pathlib import Path

from wattline.client.errors import BundleError
from wattline_protocol.trust.keys import JoinBundle, KeyFileError, load_bundle

VARIABLE = "WATTLINE_BUNDLE"
DEFAULT = Path(".config/wattline/bundle.toml")
"""Below the home directory."""


def bundle_path(given: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> Path:
    """The file to read: `given`, or `$WATTLINE_BUNDLE`, or the one in the home directory."""
    if given is not None:
        return Path(given)
    if named := environ.get(VARIABLE):
        return Path(named)
    return Path(environ.get("HOME", "~")).expanduser() / DEFAULT


def find_bundle(given: str | os.PathLike[str] | None = None) -> JoinBundle:
    """The bundle to connect with. Raises BundleError with the way to get one."""
    path = bundle_path(given, os.environ)
    if not path.is_file():
        found = f"{path} is not a join bundle" if path.exists() else f"no join bundle at {path}"
        raise BundleError(
            f"{found}; set --bundle FILE or ${VARIABLE}, "
            f"or put it at ~/{DEFAULT}. An admin makes one with "
            "`wattline enroll NAME --role submitter`"
        )
    try:
        bundle = load_bundle(path)
    except KeyFileError as error:
        raise BundleError(str(error)) from error
    if bundle.role == "agent":
        raise BundleError(
            f"{path} is the bundle of agent {bundle.name}; use a bundle of "
            "role submitter, operator or admin (`wattline enroll NAME --role operator`)"
        )
    return bundle
