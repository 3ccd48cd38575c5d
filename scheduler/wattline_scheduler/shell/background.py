"""Services in threads of their own beside the loop, so that external systems delay no lease."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from wattline_protocol.ids import Now
from wattline_protocol.site.model import Site
from wattline_scheduler.records import Saved
from wattline_scheduler.shell.bmc.power_off_runner import PowerOffRunner
from wattline_scheduler.shell.http_api.http_bridge import HttpBridge
from wattline_scheduler.shell.sensing.sensor_poller import SensorPoller
from wattline_scheduler.shell.webhooks.webhook_dispatcher import WebhookDispatcher
from wattline_scheduler.store.store import Store


@dataclass(frozen=True, slots=True)
class Background:
    """Sensors, hosts to switch off, webhooks, HTTP for grid events; each as configured."""

    sensing: SensorPoller
    out_of_band: PowerOffRunner
    webhooks: WebhookDispatcher
    http_api: HttpBridge

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
        )

    def start(self, store: Store) -> None:
        """Start all services. Raises StoreError."""
        self.sensing.start()
        self.out_of_band.start()
        self.webhooks.start(store)
        self.http_api.start()

    def close(self) -> None:
        """Stop all services; `http_api` is closed by its owner."""
        self.sensing.close()
        self.out_of_band.close()
        self.webhooks.close()
