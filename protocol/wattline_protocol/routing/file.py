"""Routes as text: the tables `[[route]]` of the site file, and job files of `kind = "route"`."""

from typing import Any

import msgspec

from wattline_protocol.job.values import name
from wattline_protocol.routing import values as v
from wattline_protocol.routing.model import (
    CONFIDENCE,
    MAX_BODY_BYTES,
    MAX_INPUTS,
    MAX_ROUTE_BYTES,
    MAX_RULES,
    MAX_VALUES,
    SHARES,
    PublicRoute,
    RouteRule,
    RouteTarget,
)
from wattline_protocol.routing.reach import TooComplex, Witness, covering, witnesses
from wattline_protocol.routing.requests import MAX_ROUTES
from wattline_protocol.text.names import check_name
from wattline_protocol.text.quantities import format_size, parse_size_bytes
from wattline_protocol.text.toml import document_text
from wattline_protocol.text.toml_fields import (
    DocumentError,
    Fields,
    Problem,
    above_zero,
    number,
    quantity,
    read_document,
    shown,
    texts,
    whole,
)
from wattline_protocol.text.wording import counted

KIND = "route"
MAX_LIMIT = 1.0
MAX_FILE_CHARS = 2 * MAX_ROUTES * MAX_ROUTE_BYTES
"""Room for all routes as text. A parser of TOML takes a second for each MiB."""

_CASCADE = 'cascade = ["small", "large"]'
_NO_TEXTS: tuple[str, ...] = ()
_encode = msgspec.msgpack.Encoder().encode


class RouteFileError(DocumentError):
    """Routes that cannot be accepted: each line states the place, the error and a valid value."""


def is_route_file(text: str) -> bool:
    """Whether a job file is of `kind = "route"`; False also for one that is no TOML."""
    try:
        return read_document(text, "").table.get("kind") == KIND
    except DocumentError:
        return False


def parse_routes(text: str, source: str) -> tuple[PublicRoute, ...]:
    """The routes of a job file; `source` names the text in errors. Raises RouteFileError."""
    if len(text) > MAX_FILE_CHARS:
        size, most = format_size(len(text)), format_size(MAX_FILE_CHARS)
        raise RouteFileError([f"{source}: has {size}, at most {most}; split it"])
    try:
        document = read_document(text, source)
    except DocumentError as error:
        raise RouteFileError(error.problems) from error
    problems: list[Problem] = []
    top = Fields(document.table, problems)
    if top.need("kind", lambda value: value == KIND, False) is False:
        top.blame(f'a file with [[route]] has kind = "{KIND}"', "kind")
    tables = top.tables("route")
    if not 1 <= len(tables) <= MAX_ROUTES:
        top.blame(f"{counted(len(tables), 'table')} [[route]]; 1 to {MAX_ROUTES} are accepted")
        tables = tables[:MAX_ROUTES]
    routes = tuple(read_route(fields) for fields in tables)
    for fields in tables:
        fields.end()
    top.end()
    for at, one in enumerate(routes):
        if one.name in [other.name for other in routes[:at]]:
            tables[at].blame(f"a route named {one.name} exists already", "name")
    if problems:
        problems.sort(key=document.line)
        raise RouteFileError([document.located(problem) for problem in problems])
    return routes


def format_route(route: PublicRoute) -> str:
    """`route` as a job file for `parse_routes`."""
    return document_text({"kind": KIND, "route": [route_table(route)]})


def route_problems(route: PublicRoute) -> tuple[str, ...]:
    """Problems that `parse_routes` would refuse, of a route that a message brought."""
    if problem := _too_large(route):
        return (problem,)
    problems: list[Problem] = []
    try:
        again = read_route(Fields(route_table(route), problems))
    except (ValueError, ArithmeticError) as error:
        return (str(error),)
    if problems:
        return tuple(problem.text for problem in problems)
    return () if again == route else ("the route is not in the form of a file",)


# --- reading


def read_route(fields: Fields) -> PublicRoute:
    """One table `[[route]]`, without the report of unknown keys."""
    before = fields.problem_count
    tables = fields.tables("rule")
    if len(tables) > MAX_RULES:
        fields.blame(f"{len(tables)} rules, at most {MAX_RULES}", "rule")
        tables = tables[:MAX_RULES]
    route = PublicRoute(
        name=fields.need("name", name, ""),
        default=_target(fields, is_needed=False),
        sticky=fields.take("sticky", v.header_name, ""),
        rules=tuple(_rule(table) for table in tables),
    )
    for check in (_check_each, _check_shares, _check_reach):
        if fields.problem_count == before:
            check(fields, route)
    return route


def _rule(fields: Fields) -> RouteRule:
    no_table: dict[str, tuple[str, ...]] = {}
    size = above_zero(quantity(parse_size_bytes))
    rule = RouteRule(
        target=_target(fields, is_needed=True) or RouteTarget(()),
        min_inputs=fields.take("min_inputs", whole(1, MAX_INPUTS), 0),
        max_inputs=fields.take("max_inputs", whole(1, MAX_INPUTS), 0),
        min_body_bytes=fields.take("min_body", size, 0),
        max_body_bytes=fields.take("max_body", size, 0),
        headers=fields.take("header", v.conditions(v.condition_header, v.header_values), no_table),
        fields=fields.take("field", v.conditions(v.path, v.field_values), no_table),
        tiers=fields.take("tiers", _names(MAX_VALUES), _NO_TEXTS),
        share_permille=fields.take("share", v.share_permille, 0),
    )
    fields.end()
    return rule


def _target(fields: Fields, *, is_needed: bool) -> RouteTarget | None:
    service = fields.take("to", name, "")
    cascade = fields.take("cascade", _names(2), _NO_TEXTS)
    limit = fields.take("limit", number(0, MAX_LIMIT), 0.0)
    confidence = fields.take("confidence", v.path, CONFIDENCE)
    if "to" in fields and "cascade" in fields:
        fields.blame("to and cascade exclude each other", "cascade")
    elif "cascade" in fields:
        if len(cascade) == 1:
            fields.blame(f"a cascade has two services, as in {_CASCADE}", "cascade")
        if not limit and cascade:
            fields.blame("a cascade needs a limit above 0, as in limit = 0.8", "limit")
    elif "limit" in fields or "confidence" in fields:
        fields.blame(f"limit and confidence are of a cascade: {_CASCADE}", "limit")
    elif "to" not in fields and is_needed:
        fields.blame(f'a rule needs a service, as in to = "small", or {_CASCADE}', "to")
    services = cascade or ((service,) if service else ())
    return RouteTarget(services, limit, confidence) if services else None


def _names(most: int) -> Any:
    def read(value: object) -> tuple[str, ...]:
        found = tuple(check_name(one) for one in texts(most)(value))
        if len(set(found)) < len(found):
            raise ValueError("each name may occur once")
        return found

    return read


# --- rules together


def _check_each(fields: Fields, route: PublicRoute) -> None:
    """Problems of a rule by itself."""
    if route.name in route.services:
        fields.blame(f"{route.name}: a route leads to services, not to itself", "name")
    if problem := _too_large(route):
        fields.blame(problem, "name")
    for at, rule in enumerate(route.rules):
        if rule.max_inputs and rule.min_inputs > rule.max_inputs:
            fields.blame("min_inputs exceeds max_inputs", "rule", at, "min_inputs")
        if rule.max_body_bytes and rule.min_body_bytes > rule.max_body_bytes:
            fields.blame("min_body exceeds max_body", "rule", at, "min_body")
        if max(rule.min_body_bytes, rule.max_body_bytes) > MAX_BODY_BYTES:
            most = format_size(MAX_BODY_BYTES)
            fields.blame(f"a body is at most {most}", "rule", at, "max_body")
        for path in rule.fields:
            if inside := [one for one in rule.fields if one.startswith(path + ".")]:
                text = f"{path} is a value, so that it has no {inside[0]}"
                fields.blame(text, "rule", at, "field")


def _too_large(route: PublicRoute) -> str:
    size = len(_encode(route))
    if size <= MAX_ROUTE_BYTES:
        return ""
    return f"the route takes {size} bytes, at most {format_size(MAX_ROUTE_BYTES)}"


def _check_shares(fields: Fields, route: PublicRoute) -> None:
    """The value of the sticky header fixes the share, so that rules with shares cannot name its
    values: whether a request reaches them would depend on a hash."""
    total = sum(rule.share_permille for rule in route.rules)
    if total > SHARES:
        text = f"the shares of a route add up to {total / SHARES:g}; 1 is the maximum"
        fields.blame(text, "rule")
    if route.sticky and not total:
        fields.blame("sticky is for rules with a share", "sticky")
    has_share = False
    for at, rule in enumerate(route.rules):
        has_share = has_share or rule.share_permille > 0
        if route.sticky and has_share and route.sticky in rule.headers:
            text = f"{route.sticky} decides the shares: a rule that names its values goes first"
            fields.blame(text, "rule", at, "header")


def _check_reach(fields: Fields, route: PublicRoute) -> None:
    try:
        reached, rest = witnesses(route)
    except TooComplex as error:
        fields.blame(str(error), "rule")
        return
    for at, witness in enumerate(reached):
        if witness is None:
            text = f"no request can reach rule {at + 1}: {_why(route, at + 1)}"
            fields.blame(text, "rule", at)
    if rest is None and route.default is not None:
        fields.blame("the rules match every request: omit what is for the rest", "to")
    if rest is not None and route.default is None:
        text = f"no rule matches {_in_words(rest)}: add what answers the rest, as in"
        fields.blame(f'{text} to = "small"', "to")


def _why(route: PublicRoute, number: int) -> str:
    before = covering(route, number)
    if before:
        return f"rule {before} matches all of its requests"
    return "the rules before it match all of its requests"


def _in_words(witness: Witness) -> str:
    parts = [f'header {name} "{text}"' for name, text in witness.headers.items()]
    parts += [f"field {path} {text}" for path, text in witness.fields.items()]
    if witness.tier:
        parts.append(f"tier {witness.tier}")
    others = f" and {', '.join(parts)}" if parts else ""
    size = format_size(witness.body_bytes)
    return f"a request of {counted(witness.inputs, 'input')}, {size}{others}"


# --- as text


def route_table(route: PublicRoute) -> dict[str, Any]:
    """The table, for `read_route`; keys at their default are omitted."""
    keys: dict[str, Any] = {"name": route.name}
    if route.default is not None:
        keys |= _target_table(route.default)
    if route.sticky:
        keys["sticky"] = route.sticky
    if route.rules:
        keys["rule"] = [_rule_table(rule) for rule in route.rules]
    return keys


def _rule_table(rule: RouteRule) -> dict[str, Any]:
    sizes = {"min_body": rule.min_body_bytes, "max_body": rule.max_body_bytes}
    keys: dict[str, Any] = {
        "min_inputs": rule.min_inputs,
        "max_inputs": rule.max_inputs,
        **{key: format_size(size) if size else 0 for key, size in sizes.items()},
        "header": {name: list(texts) for name, texts in rule.headers.items()},
        "field": {path: [_from_json(one) for one in texts] for path, texts in rule.fields.items()},
        "tiers": list(rule.tiers),
        "share": rule.share_permille / SHARES,
    }
    return {key: value for key, value in keys.items() if value} | _target_table(rule.target)


def _target_table(target: RouteTarget) -> dict[str, Any]:
    if not target.is_cascade:
        keys: dict[str, Any] = {"to": target.services[0]} if target.services else {}
    else:
        keys = {"cascade": list(target.services)}
    if target.limit:
        keys["limit"] = target.limit
    if target.confidence != CONFIDENCE:
        keys["confidence"] = target.confidence
    return keys


def _from_json(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise ValueError(f"{shown(text)} is no JSON") from None
