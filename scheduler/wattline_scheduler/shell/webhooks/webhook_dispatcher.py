"""All webhooks of a site. The last event delivered to each is on disk, so none is lost."""

from collections.abc import Callable, Iterable, Mapping

from wattline_protocol.site.model import Site, Webhook
from wattline_protocol.views.site_views import EventView
from wattline_scheduler.shell.webhooks.webhook import Post, Sender
from wattline_scheduler.store.store import Store
from wattline_scheduler.store.webhook_marks import WebhookMark

CATCH_UP_EVENTS = 10_000
"""Maximum of events checked after a restart for delivery; older ones are dropped."""


class WebhookDispatcher:
    """Passes every event on record to its subscribed webhooks."""

    def __init__(self, site: Site, marks: Mapping[str, int], newest_event: int) -> None:
        """`marks`: by URL the last settled event; a new webhook begins after `newest_event`."""
        self._marked = dict(marks)
        self._newest = newest_event
        self._hooks = [
            Sender(hook, marks.get(hook.url, newest_event), _poster(site.name, hook))
            for hook in site.webhooks
        ]

    def start(self, store: Store) -> None:
        """Catch up on events not delivered yet, and start. Raises StoreError."""
        for hook in self._hooks:
            after = max(hook.settled, self._newest - CATCH_UP_EVENTS)
            for event in store.events(after, CATCH_UP_EVENTS):
                hook.offer(event)
            hook.start()

    def publish(self, event: EventView) -> None:
        """Deliver an event that is on disk."""
        for hook in self._hooks:
            hook.offer(event)

    def marks(self) -> Iterable[WebhookMark]:
        """Settled events not on record yet; call it once a second and save them."""
        for hook in self._hooks:
            url, settled = hook.webhook.url, hook.settled
            if self._marked.get(url) != settled:
                self._marked[url] = settled
                yield WebhookMark(url, settled)

    def close(self) -> None:
        """Stop delivering. Queued events are delivered after the next start."""
        for hook in self._hooks:
            hook.stop()
        for hook in self._hooks:
            hook.join()


def _poster(site: str, webhook: Webhook) -> Callable[[], Post]:
    """Loads the HTTP client in the hook's thread, not in the scheduler's."""

    def make() -> Post:
        from wattline_scheduler.shell.webhooks.webhook_post import SignedPost

        return SignedPost(site, webhook)

    return make
