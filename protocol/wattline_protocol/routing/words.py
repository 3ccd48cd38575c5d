"""Rules of a route in words, for people."""

from wattline_protocol.routing.model import SHARES, RouteRule, RouteTarget
from wattline_protocol.text.quantities import format_size


def conditions_in_words(rule: RouteRule) -> str:
    """Its conditions, for a listing."""
    parts = []
    if rule.min_inputs or rule.max_inputs:
        parts.append(f"inputs {_span(str(rule.min_inputs or 1), str(rule.max_inputs or ''))}")
    if rule.min_body_bytes or rule.max_body_bytes:
        most = format_size(rule.max_body_bytes) if rule.max_body_bytes else ""
        parts.append(f"body {_span(format_size(rule.min_body_bytes), most)}")
    parts += [f"header {key} = {' or '.join(texts)}" for key, texts in rule.headers.items()]
    parts += [f"field {key} = {' or '.join(texts)}" for key, texts in rule.fields.items()]
    if rule.tiers:
        parts.append(f"tier {' or '.join(rule.tiers)}")
    if rule.share_permille:
        parts.append(f"share {rule.share_permille / SHARES:.1%}")
    return ", ".join(parts) or "all"


def target_in_words(target: RouteTarget) -> str:
    """A target, for a listing."""
    if not target.is_cascade:
        return target.services[0]
    small, large = target.services
    return f"{small}, below {target.confidence} {target.limit:g} {large}"


def _span(low: str, high: str) -> str:
    return f"{low} to {high}" if high else f"{low} or more"
