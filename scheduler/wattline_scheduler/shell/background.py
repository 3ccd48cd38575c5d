"""Services in threads of their own beside the loop, so that external systems delay no lease."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from wattline_protocol.ids import Now
from wattline_protocol.site.model import Site
from wattline_scheduler.records import Saved
from wattline_scheduler.shell.bmc.power_off_runner import OutOfBandDesk
from wattline_scheduler.shell.http_api.http_bridge import DoorDesk
from wattline_scheduler.shell.sensing.sensor_poller import SensingDesk
from wattline_scheduler.shell.webhooks.webhook_dispatcher import WebhookDesk
from wattline_scheduler.store.store import Store


@dataclass(frozen=True, slots=True)
class Beside:
    """Sensors, hosts to switch off, webhooks, HTTP for grid events; each as configured."""

    sensing: SensingDesk
    out_of_band: OutOfBandDesk
    hooks: WebhookDesk
    door: DoorDesk

    @classmethod
    def of(
        cls,
        site: Site,
        door: DoorDesk,
        store: Store,
        saved: Saved,
        clock: Callable[[], Now],
    ) -> Self:
        """Nothing runs before `start`. Raises StoreError."""
        return cls(
            sensing=SensingDesk(site, lambda: clock().unix_s),
            out_of_band=OutOfBandDesk(site, lambda: clock().mono_s),
            hooks=WebhookDesk(site, store.webhook_marks(), saved.next_event - 1),
            door=door,
        )

    def start(self, store: Store) -> None:
        """Start all services. Raises StoreError."""
        self.sensing.start()
        self.out_of_band.start()
        self.hooks.start(store)
        self.door.start()

    def close(self) -> None:
        """Stop all services; `door` is closed by its owner."""
        self.sensing.close()
        self.out_of_band.close()
        self.hooks.close()
