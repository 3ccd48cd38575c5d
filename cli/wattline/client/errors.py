"""Errors between a client and its scheduler: one tree, each error a plain sentence."""


class WattlineError(Exception):
    """Base of the client's errors. `str(error)` states what was wrong and what would be valid."""


class BundleError(WattlineError):
    """No usable join bundle: missing, unreadable, or not a bundle."""


class Unreachable(WattlineError):
    """The scheduler did not answer in time."""


class Refused(WattlineError):
    """The scheduler refused the connection: unknown key, wrong role or other version."""


class RequestDenied(WattlineError):
    """The scheduler refused one request; subclasses name the kind."""


class NotFound(RequestDenied):
    """No such job, node or domain."""


class NotAllowed(RequestDenied):
    """The role of this key does not include the act."""


class BadRequest(RequestDenied):
    """The request is invalid."""


class Impossible(RequestDenied):
    """The request can never be met; the text states what would fit."""


class Conflict(RequestDenied):
    """Not in this state, e.g. releasing a job that is not held."""


class Busy(RequestDenied):
    """The scheduler is at a limit; try again later."""


class Unavailable(RequestDenied):
    """Temporarily unavailable, e.g. a log on a node that is silent."""


class WaitTimeout(WattlineError):
    """The job had not ended within the time given to `wait`."""


DENIALS: dict[str, type[RequestDenied]] = {
    "not_found": NotFound,
    "not_allowed": NotAllowed,
    "bad_request": BadRequest,
    "impossible": Impossible,
    "conflict": Conflict,
    "busy": Busy,
    "unavailable": Unavailable,
}
"""Error class by `Denied.kind`."""
