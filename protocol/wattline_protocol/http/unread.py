"""Memory of answers that clients have not read. No I/O.

A client may read at the minimum rate for as long as its answer lasts, and each address has hundreds
of connections. While the answers of all exceed the limit, the client that holds most loses its own,
so that what some do not read ends no answer of another that holds less.
"""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class UnreadAnswers:
    """Unread bytes of one server, by client."""

    most_bytes: int
    _by_client: Counter[str] = field(default_factory=Counter)
    _total_bytes: int = 0

    def change(self, client: str, more_bytes: int) -> None:
        """A connection of the client has so many more, or fewer."""
        if not more_bytes:
            return
        self._total_bytes += more_bytes
        self._by_client[client] += more_bytes
        if not self._by_client[client]:
            del self._by_client[client]

    def are_too_many(self, client: str) -> bool:
        """Whether they exceed the limit, and this client holds most of them."""
        if self._total_bytes <= self.most_bytes:
            return False
        return self._by_client[client] == max(self._by_client.values())
