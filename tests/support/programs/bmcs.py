"""Simulated BMCs: a Redfish ComputerSystem on loopback whose host can be switched off."""

from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from support.programs.sensor_servers import SensorServer, says


@dataclass
class SimulatedBmc:
    """Shaped like the DMTF's ComputerSystem schema (DSP2046); the hardware is simulated."""

    server: SensorServer
    name: str = "1"
    power: str = "On"
    lags: int = 0
    """Readings that still say "On" after the host was switched off."""
    resets: list[str] = field(default_factory=list)
    """Reset types that were carried out."""
    refuses: int = 0
    """HTTP status with which it refuses to act; 0 = it acts."""

    def __post_init__(self) -> None:
        self.server.routes[self.path] = self._system
        self.server.routes[f"{self.path}/Actions/ComputerSystem.Reset"] = self._reset

    @property
    def path(self) -> str:
        return f"/redfish/v1/Systems/{self.name}"

    @property
    def url(self) -> str:
        return f"{self.server.url}{self.path}"

    def _system(self, handler: BaseHTTPRequestHandler) -> None:
        shown = self.power
        if self.resets and self.lags > 0:
            self.lags -= 1
            shown = "PoweringOff"
        says(self.document(shown))(handler)

    def document(self, power: str) -> dict[str, object]:
        return {
            "@odata.type": "#ComputerSystem.v1_22_0.ComputerSystem",
            "@odata.id": self.path,
            "Id": self.name,
            "Name": "Host (simulated)",
            "PowerState": power,
            "Actions": {
                "#ComputerSystem.Reset": {
                    "target": f"{self.path}/Actions/ComputerSystem.Reset",
                    "ResetType@Redfish.AllowableValues": ["On", "ForceOff", "GracefulShutdown"],
                }
            },
        }

    def _reset(self, handler: BaseHTTPRequestHandler) -> None:
        if self.refuses:
            says({"error": {"code": "Base.1.8.GeneralError"}}, self.refuses)(handler)
            return
        _, asked = self.server.posted[-1]
        self.resets.append(asked["ResetType"])
        self.power = "Off"
        handler.send_response(204)
        handler.end_headers()
