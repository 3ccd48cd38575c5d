"""What runs beside the loop in threads of its own, so that the world outside delays no lease."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from wattline_protocol.site import Site
from wattline_scheduler.core.records import Saved
from wattline_scheduler.shell.door.desk import DoorDesk
from wattline_scheduler.shell.hooks.desk import WebhookDesk
from wattline_scheduler.shell.sensing.desk import SensingDesk
from wattline_scheduler.store.store import Store


@dataclass(frozen=True, slots=True)
class Beside:
    """Sensors that are read, webhooks that are told, a door for grid events; each as configured."""

    sensing: SensingDesk
    hooks: WebhookDesk
    door: DoorDesk

    @classmethod
    def of(
        cls,
        site: Site,
        door: DoorDesk,
        store: Store,
        saved: Saved,
        unix_s: Callable[[], float],
    ) -> Self:
        """Nothing runs before `start`. Raises StoreError."""
        return cls(
            sensing=SensingDesk(site, unix_s),
            hooks=WebhookDesk(site, store.webhook_marks(), saved.next_event - 1),
            door=door,
        )

    def start(self, store: Store) -> None:
        """Begin. Raises StoreError."""
        self.sensing.start()
        self.hooks.start(store)
        self.door.start()

    def close(self) -> None:
        """End all of it; the door is closed by who opened it."""
        self.sensing.close()
        self.hooks.close()
