"""The release of the programs on this host, as peers name it to each other."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

SAME_RELEASE = "install the same release of Wattline on both sides"
"""What helps where two programs do not understand each other."""


@cache
def release() -> str:
    """`wattline 1.2.3`, of the installed distribution."""
    try:
        return f"wattline {version('wattline')}"
    except PackageNotFoundError:
        return "wattline, unpackaged"
