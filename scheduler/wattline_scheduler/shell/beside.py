"""What runs beside the loop in threads of its own, so that the world outside delays no lease."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from wattline_protocol.ids import Now
from wattline_protocol.site import Site
from wattline_scheduler.core.records import Saved
from wattline_scheduler.shell.door.desk import DoorDesk
from wattline_scheduler.shell.hooks.desk import WebhookDesk
from wattline_scheduler.shell.outofband.desk import OutOfBandDesk
from wattline_scheduler.shell.sensing.desk import SensingDesk
from wattline_scheduler.store.store import Store


@dataclass(frozen=True, slots=True)
class Beside:
    """Sensors, hosts to switch off, webhooks, a door for grid events; each as configured."""

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
        """Begin. Raises StoreError."""
        self.sensing.start()
        self.out_of_band.start()
        self.hooks.start(store)
        self.door.start()

    def close(self) -> None:
        """End all of it; the door is closed by who opened it."""
        self.sensing.close()
        self.out_of_band.close()
        self.hooks.close()
