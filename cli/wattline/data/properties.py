"""Properties of a data set, as flags give them."""

from wattline import exits
from wattline.client import Client
from wattline.failures import ActFailed
from wattline_protocol.data.requests import SetChange


def set_change(
    reader: tuple[str, ...],
    reviewer: tuple[str, ...],
    retention: float | None,
    contains: tuple[str, ...],
    secret: str | None,
) -> SetChange:
    """The properties that are given."""
    return SetChange(
        readers=_words(reader, "all"),
        reviewers=_words(reviewer, "none"),
        retention_s=retention,
        contains=_words(contains, "none"),
        secret=secret,
    )


def change(
    client: Client,
    *,
    name: str,
    reader: tuple[str, ...],
    reviewer: tuple[str, ...],
    retention: float | None,
    contains: tuple[str, ...],
    secret: str | None,
) -> str:
    """Change those of a set."""
    wanted = set_change(reader, reviewer, retention, contains, secret)
    if wanted == SetChange():
        text = "name a property: --reader, --reviewer, --retention, --contains or --secret"
        raise ActFailed(text, exits.USAGE)
    return client.change_data(name, wanted)


def _words(values: tuple[str, ...], nothing: str) -> tuple[str, ...] | None:
    """Words of a flag that may be repeated; `nothing` alone for none of them; None = not given."""
    words = tuple(word for value in values for word in value.split(",") if word)
    return None if not values else () if words == (nothing,) else words
