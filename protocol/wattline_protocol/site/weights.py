"""Site file keys for the weights of a placement's cost."""

import msgspec

from wattline_protocol.site.model import Weights
from wattline_protocol.text.toml_fields import Fields, number

KEYS = ("fragments", "fit", "warmth", "stranding", "watts", "locality", "spread")
"""The others only decide between places that are equal in these."""

MAX_WEIGHT = 1_000.0


def weights(top: Fields) -> Weights:
    """The table [weights]."""
    fields, usual = top.table("weights"), Weights()
    read = {key: fields.take(key, number(0, MAX_WEIGHT), getattr(usual, key)) for key in KEYS}
    fields.end()
    return msgspec.structs.replace(usual, **read)


def weight_keys(of: Weights) -> dict[str, float]:
    """The table, for `weights`."""
    return {key: getattr(of, key) for key in KEYS}
