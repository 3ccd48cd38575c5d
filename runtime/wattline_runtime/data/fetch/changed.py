"""How the parts of the fetch process report that there is something to report."""

from typing import Protocol


class Changed(Protocol):
    """Called from any thread: a state has changed, or only the progress of a fetch."""

    def __call__(self, *, is_urgent: bool) -> None: ...
