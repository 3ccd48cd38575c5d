"""Executes a verb: connect, act, show."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from wattline import exits
from wattline.lists.options import LIST_OPTIONS
from wattline.verbs.verb import BUNDLE, JSON, Verb


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of an act whose exit code may differ from 0."""

    value: Any
    status: int = exits.OK


def load(path: str) -> Any:
    """What `module:name` names."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def run(verb: Verb, values: dict[str, Any]) -> int:
    """Exit code of `verb` with `values`; errors leave as exceptions (see `main`)."""
    as_json = bool(values.pop(JSON.name, False))
    if verb.knows_json:
        values["as_json"] = as_json
    print_result = _printer(verb, values, as_json=as_json)
    if verb.role is None:
        return print_result(partial(load(verb.act), **values))
    from wattline.client import Client
    from wattline.show.screen import put_error

    with Client(
        values.pop(BUNDLE.name), on_trouble=lambda text: put_error(f"wattline: {text}")
    ) as client:
        return print_result(partial(load(verb.act), client, **values))


def _printer(
    verb: Verb, values: dict[str, Any], *, as_json: bool
) -> Callable[[Callable[..., Any]], int]:
    """What does the act and prints its result; options of lists are taken from `values`."""
    if not verb.lists:
        return lambda act: _show(verb, act(), as_json=as_json)
    from wattline.lists.print_list import print_list
    from wattline.lists.request import ListOptions, checked, unfit

    given = {p.name: values.pop(p.name) for p in LIST_OPTIONS if p.name in values}
    options = ListOptions(**given, json=as_json)
    of = list_of(verb, values)
    if of is None:
        unfit(options)
        return lambda act: _show(verb, act(), as_json=as_json)
    checked(of, options, is_endless=verb.streams and bool(values.get("follow")))

    def show(act: Callable[..., Any]) -> int:
        ask = (lambda where: act(where=where)) if verb.selects else (lambda _: act())
        return print_list(of, options, ask, selects=verb.selects)

    return show


def list_of(verb: Verb, values: Mapping[str, Any]) -> Any:
    """The `ListOf` of the verb that applies to these arguments; None: it lists nothing then."""
    return next((one for one in map(load, verb.lists) if one.applies(values)), None)


def _show(verb: Verb, result: Any, *, as_json: bool) -> int:
    from wattline.show import screen

    render = load(verb.show) if verb.show is not None else None
    if isinstance(result, Iterator):
        status = exits.OK
        for item in result:
            outcome = item if isinstance(item, Outcome) else Outcome(item)
            status = outcome.status
            if as_json:
                screen.put_json_line(outcome.value)
            elif render is not None:
                screen.put(render(outcome.value))
        return status
    outcome = result if isinstance(result, Outcome) else Outcome(result)
    if as_json:
        screen.put_json(outcome.value)
    elif render is not None and outcome.value is not None:
        screen.put(render(outcome.value))
    sys.stdout.flush()
    return outcome.status
