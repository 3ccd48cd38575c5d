"""Labels of nodes: key-value pairs of the site file that jobs can require."""

from collections.abc import Iterable, Mapping

from wattline_protocol.job.spec import REPORTED_LAUNCHERS
from wattline_protocol.text.names import check_name
from wattline_protocol.text.toml_fields import text

MAX_LABELS = 32
"""Maximum of labels of one node, and required by one job."""

Labels = frozenset[tuple[str, str]]
"""Names with their values, each name once. What a node's agent reports has no value."""


def labels(value: object) -> dict[str, str]:
    """{ fabric = "ib" }: names and values follow the rules for node names."""
    if not isinstance(value, Mapping):
        raise ValueError('expected a table such as { fabric = "ib" }')
    if len(value) > MAX_LABELS:
        raise ValueError(f"expected at most {MAX_LABELS} labels")
    return {check_name(str(name)): _value(str(name), item) for name, item in value.items()}


def _value(name: str, item: object) -> str:
    try:
        return check_name(text(item))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def labels_text(pairs: Iterable[tuple[str, str]]) -> str:
    """For display, and in the form of the flag: "fabric=ib, zone=b"."""
    return ", ".join(
        f"{name}={value}" if value else f"launcher {name}" for name, value in sorted(pairs)
    )


def of_site_file(pairs: Labels) -> Labels:
    """Without what agents report."""
    return frozenset(pair for pair in pairs if pair[1])


def launcher_labels(launchers: Iterable[str]) -> Labels:
    """Those of the launchers that not every node has, as labels."""
    return frozenset((one, "") for one in REPORTED_LAUNCHERS.intersection(launchers))


ANY_LAUNCHER = launcher_labels(REPORTED_LAUNCHERS)
