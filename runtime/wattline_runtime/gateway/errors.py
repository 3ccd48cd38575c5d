"""Refusals of HTTP requests: reasons, statuses, and their form in an answer."""

from collections.abc import Iterator

STATUS: dict[str, int] = {
    "unauthorized": 401,
    "forbidden": 403,
    "rate_limited": 429,
    "budget_used_up": 429,
    "budget_shared_out": 429,
    "blocked": 429,
    "slowed": 429,
    "keys_outdated": 503,
    "unknown_service": 404,
    "no_service": 503,
    "no_worker": 503,
    "queue_full": 429,
    "too_slow": 429,
    "deadline": 504,
    "worker_lost": 503,
    "poison": 422,
    "bad_input": 422,
    "model_error": 500,
    "output_too_large": 500,
    "stopping": 503,
    "malformed": 400,
    "body_too_large": 413,
    "body_too_slow": 408,
    "bodies_full": 503,
    "method": 405,
    "no_method": 404,
    "seq_reused": 409,
    "superseded": 409,
    "idle": 408,
    "no_batches": 501,
    "unknown_batch": 404,
    "batch_open": 409,
    "too_many_batches": 429,
    "disk_full": 507,
    "disk_error": 503,
}


CLIENT_GONE_STATUS = 499
"""Counted and logged, never sent: the client has disconnected."""


class BadRequest(Exception):
    """The request is invalid; the text states the error and what would be valid."""

    def __init__(
        self, reason: str, message: str, retry_after_s: int = 0, allow: str = "POST"
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s
        self.allow = allow
        """Method that the route has, where the reason is `method`."""


def as_json(error: BadRequest) -> dict[str, dict[str, str]]:
    """Body of the answer."""
    return {"error": {"reason": error.reason, "message": error.message}}


_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
_OPENAI_CODES = {
    "unknown_service": "model_not_found",
    "unauthorized": "invalid_api_key",
    "budget_used_up": "insufficient_quota",
}


def as_openai_json(error: BadRequest) -> dict[str, dict[str, str]]:
    """Body of the answer, as OpenAI's clients read it."""
    status = STATUS[error.reason]
    kind = "server_error" if status >= 500 else "invalid_request_error"
    named = {
        "reason": error.reason,
        "message": error.message,
        "type": _OPENAI_TYPES.get(status, kind),
        "code": _OPENAI_CODES.get(error.reason, error.reason),
    }
    return {"error": named}


def headers(error: BadRequest) -> Iterator[tuple[str, str]]:
    """Headers of the answer, besides the usual ones."""
    if error.retry_after_s:
        yield "retry-after", str(error.retry_after_s)
    if error.reason == "method":
        yield "allow", error.allow
    if error.reason == "blocked":
        yield "connection", "close"  # its body is not read
    if error.reason == "unauthorized":
        yield "www-authenticate", "Bearer"
