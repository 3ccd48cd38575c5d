"""W3C Trace Context: the header traceparent (https://www.w3.org/TR/trace-context/)."""

import re

TRACEPARENT = "traceparent"

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
MAX_CHARS = 512
_SAMPLED = 1


def valid_traceparent(text: str) -> str:
    """The header as it is passed on, in version 00; empty: it is invalid, and thus ignored.

    Of a later version, which may be longer, the fields that version 00 knows are used.
    """
    found = _FORM.fullmatch(text.strip(" \t")) if len(text) <= MAX_CHARS else None
    if found is None:
        return ""
    version, trace, parent, flags, rest = found.groups()
    is_unknown = version == "ff" or (version == "00" and rest is not None)
    if is_unknown or trace == "0" * 32 or parent == "0" * 16:
        return ""
    if version != "00":
        flags = f"{int(flags, 16) & _SAMPLED:02x}"
    return f"00-{trace}-{parent}-{flags}"


def trace_id_of(traceparent: str) -> str:
    """Of a valid one."""
    return traceparent[3:35]
