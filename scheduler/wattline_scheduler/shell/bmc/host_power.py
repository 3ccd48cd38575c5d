"""Power control of one host without its agent: power state and power-off."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import urljoin, urlsplit

from wattline_protocol.site.out_of_band import OffByCommand, OffByRedfish, OutOfBand
from wattline_scheduler.shell.sensing.command_output import output_of
from wattline_scheduler.shell.sensing.sensor_values import OK, ReadingFailed, cut, document, refusal

if TYPE_CHECKING:
    from wattline_scheduler.shell.sensing.http_client import HttpClient

Power = Literal["off", "on"]

PRINTED: dict[str, Power] = {
    "off": "off",
    "on": "on",
    "chassis power is off": "off",
    "chassis power is on": "on",
}
"""Output of a status command; the longer ones are ipmitool's."""

RESET = "#ComputerSystem.Reset"
FORCE_OFF = "ForceOff"
OK_TO_POST = (OK, 202, 204)


class Host(Protocol):
    """Power control of a host. Not for concurrent calls."""

    async def power(self) -> Power:
        """Off only if reported explicitly. Raises ReadingFailed."""
        ...

    async def switch_off(self) -> None:
        """Request power-off; `power` reports whether it took effect. Raises ReadingFailed."""
        ...

    async def close(self) -> None:
        """Close its connection, if it has one."""
        ...


def host_of(declared: OutOfBand, step_s: float) -> Host:
    """`step_s`: time-out of one answer over the network."""
    match declared.method:
        case OffByCommand():
            return CommandHost(declared.method)
        case OffByRedfish():
            return RedfishHost(declared.method, step_s)


class CommandHost:
    """Control by programs. Cancelling a call kills its program with all its children."""

    def __init__(self, method: OffByCommand) -> None:
        self._method = method

    async def power(self) -> Power:
        """See `Host`."""
        printed = (await output_of(self._method.status)).decode("utf-8", errors="replace").strip()
        found = PRINTED.get(printed.casefold())
        if found is None:
            name = self._method.status[0]
            raise ReadingFailed(
                f'{name} printed {cut(printed) or "nothing"}; expected "off" or "on"'
            )
        return found

    async def switch_off(self) -> None:
        """See `Host`."""
        await output_of(self._method.off)

    async def close(self) -> None:
        """No connection to close."""


class RedfishHost:
    """A ComputerSystem (DMTF DSP2046): PowerState, and the action ComputerSystem.Reset."""

    def __init__(self, method: OffByRedfish, step_s: float) -> None:
        self._url = method.url.rstrip("/")
        self._access = method.access
        self._step_s = step_s
        self._web: HttpClient | None = None

    async def power(self) -> Power:
        """See `Host`."""
        state = (await self._system()).get("PowerState")
        if not isinstance(state, str):
            raise ReadingFailed("it has no PowerState; a ComputerSystem is required")
        return "off" if state == "Off" else "on"

    async def switch_off(self) -> None:
        """See `Host`."""
        target = _reset_target(await self._system(), self._url)
        status, body = await self._over_web().post(target, {"ResetType": FORCE_OFF})
        if status not in OK_TO_POST:
            raise ReadingFailed(refusal(status, body))

    async def close(self) -> None:
        """See `Host`."""
        if self._web is not None:
            await self._web.close()

    async def _system(self) -> Mapping[str, Any]:
        status, body = await self._over_web().get(self._url)
        if status != OK:
            raise ReadingFailed(refusal(status, body))
        found = document(body)
        if not isinstance(found, Mapping):
            raise ReadingFailed("the answer is no Redfish resource")
        return found

    def _over_web(self) -> "HttpClient":
        if self._web is None:
            from wattline_scheduler.shell.sensing.http_client import HttpClient

            self._web = HttpClient(self._access, self._step_s)
        return self._web


def _reset_target(system: Mapping[str, Any], url: str) -> str:
    """URL of the system's Reset action; only on the host named in the site file."""
    actions = system.get("Actions")
    action = actions.get(RESET) if isinstance(actions, Mapping) else None
    if not isinstance(action, Mapping):
        raise ReadingFailed(f"it offers no {RESET.removeprefix('#')}")
    allowed = action.get("ResetType@Redfish.AllowableValues")
    if isinstance(allowed, list) and FORCE_OFF not in allowed:
        raise ReadingFailed(f"it offers no {FORCE_OFF}, only {cut(', '.join(map(str, allowed)))}")
    declared = str(action.get("target") or f"{url}/Actions/ComputerSystem.Reset")
    try:
        target = urljoin(url, declared)
        here, there = urlsplit(url), urlsplit(target)
        target.encode()
    except ValueError:
        raise ReadingFailed(f"the target of its Reset action is no URL: {cut(declared)}") from None
    if (here.scheme, here.netloc) != (there.scheme, there.netloc):
        raise ReadingFailed(f"its Reset action leads to another host, {cut(there.netloc)}")
    return target
