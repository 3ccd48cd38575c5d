"""Services in threads of their own beside the loop, so that external systems delay no lease."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from wattline_protocol.ids import Now
from wattline_protocol.site.model import Site
from wattline_scheduler.notification_record import NotificationRecord
from wattline_scheduler.records import Saved
from wattline_scheduler.shell.bmc.power_off_runner import PowerOffRunner
from wattline_scheduler.shell.http_api.http_bridge import HttpBridge
from wattline_scheduler.shell.notifications.notifier import Notifier
from wattline_scheduler.shell.sensing.sensor_poller import SensorPoller
from wattline_scheduler.shell.webhooks.webhook_dispatcher import WebhookDispatcher
from wattline_scheduler.store.store import Store


@dataclass(frozen=True, slots=True)
class Background:
    """Sensors, hosts to switch off, webhooks, notifications, HTTP for grid events."""

    sensing: SensorPoller
    out_of_band: PowerOffRunner
    webhooks: WebhookDispatcher
    http_api: HttpBridge
    notifier: Notifier
    waiting: Sequence[NotificationRecord]
    """Notifications that earlier runs did not deliver."""

    @classmethod
    def of(
        cls,
        site: Site,
        http_api: HttpBridge,
        store: Store,
        saved: Saved,
        clock: Callable[[], Now],
    ) -> Self:
        """Nothing runs before `start`. Raises StoreError."""
        return cls(
            sensing=SensorPoller(site, lambda: clock().unix_s),
            out_of_band=PowerOffRunner(site, lambda: clock().mono_s),
            webhooks=WebhookDispatcher(site, store.webhook_marks(), saved.next_event - 1),
            http_api=http_api,
            notifier=Notifier(site),
            waiting=saved.notifications,
        )

    def start(self, store: Store) -> None:
        """Start all services. Raises StoreError."""
        self.sensing.start()
        self.out_of_band.start()
        self.webhooks.start(store)
        self.http_api.start()
        self.notifier.start(self.waiting)

    def close(self) -> None:
        """Stop all services; `http_api` is closed by its owner."""
        self.sensing.close()
        self.out_of_band.close()
        self.webhooks.close()
        self.notifier.close()
