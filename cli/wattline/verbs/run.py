"""Executes a verb: connect, act, show."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from wattline import exits
from wattline.verbs.verb import BUNDLE, JSON, Verb


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of an act whose exit code may differ from 0."""

    value: Any
    status: int = exits.OK


def load(path: str) -> Callable[..., Any]:
    """The function that `module:function` names."""
    module, _, name = path.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


def run(verb: Verb, values: dict[str, Any]) -> int:
    """Exit code of `verb` with `values`; errors leave as exceptions (see `main`)."""
    as_json = bool(values.pop(JSON.name, False))
    if verb.knows_json:
        values["as_json"] = as_json
    if verb.role is None:
        return _show(verb, load(verb.act)(**values), as_json=as_json)
    from wattline.client import Client
    from wattline.show.screen import put_error

    with Client(
        values.pop(BUNDLE.name), on_trouble=lambda text: put_error(f"wattline: {text}")
    ) as client:
        return _show(verb, load(verb.act)(client, **values), as_json=as_json)


def _show(verb: Verb, result: Any, *, as_json: bool) -> int:
    from wattline.show import screen

    render = load(verb.show) if verb.show is not None else None
    if isinstance(result, Iterator):
        if verb.live is not None and not as_json and sys.stdout.isatty():
            screen.put_live(map(load(verb.live), result))
            return exits.OK
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
