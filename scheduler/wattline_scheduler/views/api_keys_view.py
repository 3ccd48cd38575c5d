"""View of API keys."""

from wattline_protocol.ids import Now
from wattline_protocol.wire.api_keys import ApiKeyView
from wattline_scheduler.api_key_record import ApiKeyRecord
from wattline_scheduler.core.model.api_key_book import is_expired, tokens_of_day
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.abuse import state_of
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.views.service_energy_view import UJ_PER_J


def api_key_views(state: State, asker: Asker, now: Now) -> tuple[ApiKeyView, ...]:
    """Keys that are not revoked, by name: those of the user, all for operators."""
    day_unix_s = state.calendar.day(now.unix_s).start_unix_s
    return tuple(
        _view(state, key, day_unix_s, now)
        for _, key in sorted(state.api_keys.by_name.items())
        if asker.may_act_for(key.owner)
    )


def _view(state: State, key: ApiKeyRecord, day_unix_s: float, now: Now) -> ApiKeyView:
    shown, why = state_of(state, key)
    return ApiKeyView(
        name=key.name,
        owner=key.owner,
        services=key.services,
        rate_per_s=key.rate_per_s,
        burst=key.burst,
        made_unix_s=key.made_unix_s,
        expires_unix_s=key.expires_unix_s,
        is_expired=is_expired(key, now.unix_s),
        priority=key.priority,
        requests=key.requests,
        refused=key.refused,
        used_unix_s=key.used_unix_s,
        tokens_per_day=key.tokens_per_day,
        tokens=key.tokens,
        tokens_today=tokens_of_day(key, day_unix_s),
        joules=key.energy_uj / UJ_PER_J if key.energy_uj else None,
        tier=key.tier,
        state=shown,
        blocked_until_unix_s=key.blocked_until_unix_s or None,
        abuse=why,
    )
