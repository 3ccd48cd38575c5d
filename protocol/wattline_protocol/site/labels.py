"""Labels of nodes: key-value pairs of the site file that jobs can require."""

from collections.abc import Iterable, Iterator, Mapping

from wattline_protocol.job.spec import REPORTED_LAUNCHERS
from wattline_protocol.text.names import check_name
from wattline_protocol.text.toml_fields import text

MAX_LABELS = 32
"""Maximum of labels of one node, and required by one job."""

Labels = frozenset[tuple[str, str]]
"""Names with their values, each name once. What a node's agent reports has no value."""

_SECRET = "secret:"  # noqa: S105 - the kind of a label; no name of the site file has a colon


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
    return ", ".join(_text(name, value) for name, value in sorted(pairs))


def _text(name: str, value: str) -> str:
    if value:
        return f"{name}={value}"
    for user, entry in secret_names(frozenset([(name, value)])):
        return f"secret {entry} of user {user}"
    return f"launcher {name}"


def of_site_file(pairs: Labels) -> Labels:
    """Without what agents report."""
    return frozenset(pair for pair in pairs if pair[1])


def launcher_labels(launchers: Iterable[str]) -> Labels:
    """Those of the launchers that not every node has, as labels."""
    return frozenset((one, "") for one in REPORTED_LAUNCHERS.intersection(launchers))


def secret_label(user: str, entry: str) -> tuple[str, str]:
    """An entry of a user that a node has, as a label."""
    return f"{_SECRET}{user}/{entry}", ""


def secret_names(pairs: Labels) -> Iterator[tuple[str, str]]:
    """User and entry of the labels that are entries."""
    for name, _ in pairs:
        if name.startswith(_SECRET):
            user, _, entry = name.removeprefix(_SECRET).partition("/")
            yield user, entry


ANY_LAUNCHER = launcher_labels(REPORTED_LAUNCHERS)
