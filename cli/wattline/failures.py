"""Exit codes for errors that a user can resolve; all others are bugs and leave a traceback."""

from wattline import exits


class ActFailed(Exception):
    """A verb has failed; `str(error)` is the line shown to the user."""

    def __init__(self, text: str, status: int = exits.FAILED) -> None:
        super().__init__(text)
        self.status = status


def status_of(error: Exception) -> int | None:
    """The exit code for `error`; None if it is unexpected."""
    if isinstance(error, ActFailed):
        return error.status
    from wattline.client import errors
    from wattline_protocol.text.toml_fields import DocumentError
    from wattline_protocol.trust.keys import KeyFileError

    codes: tuple[tuple[type[Exception], int], ...] = (
        (errors.NotFound, exits.NOT_FOUND),
        (errors.NotAllowed, exits.NOT_ALLOWED),
        (errors.BadRequest, exits.USAGE),
        (errors.Refused, exits.NOT_ALLOWED),
        (errors.BundleError, exits.NOT_FOUND),
        (errors.Unreachable, exits.UNREACHABLE),
        (errors.WattlineError, exits.FAILED),
        (KeyFileError, exits.USAGE),
        (DocumentError, exits.USAGE),
    )
    return next((code for kind, code in codes if isinstance(error, kind)), None)
