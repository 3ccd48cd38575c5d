"""Verbs about services behind gateways."""

from functools import partial

from wattline.verbs.verb import Argument, Verb

_verb = partial(Verb, section="Serving", role="submitter")

VERBS = (
    _verb(
        name="services",
        help="List services with their revision and ready replicas.",
        act="wattline.acts.serving.services:services",
        show="wattline.show.serving.services:listing",
    ),
    _verb(
        name="service",
        help="Show one service with its workers as gateways see them.",
        details="A worker is starting until each gateway knows it, then loading, ready, stalled, "
        "probed or draining. A replica whose last try failed shows the error that ends its log, if "
        "you may read that.",
        act="wattline.acts.serving.services:service",
        show="wattline.show.serving.services:detail",
        args=(Argument("name", "Name of the service."),),
    ),
)
