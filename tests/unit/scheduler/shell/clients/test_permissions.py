"""What each role may send, before any lookup."""

import pytest

from wattline_protocol.data.secrets import GetSecretKeys, ListSecrets, PutSecret, RemoveSecret
from wattline_protocol.site.model import Role
from wattline_protocol.views.request_logs import (
    LogFilter,
    ReadRequestLog,
    ReportLogPage,
    WatchLogQueries,
)
from wattline_protocol.views.service_views import ListServices
from wattline_protocol.wire.api_keys import (
    AddApiKey,
    ListApiKeys,
    ReportAbuse,
    ReportApiKeyUse,
    RevokeApiKey,
    UnblockApiKey,
)
from wattline_protocol.wire.client_messages import Request
from wattline_protocol.wire.rollouts import GetRollout, ReportRises, ReportTraffic, SteerRollout
from wattline_protocol.wire.subscriptions import WatchRoutes
from wattline_scheduler.shell.clients.permissions import not_for

OF_GATEWAYS: list[Request] = [
    ReportAbuse(()),
    WatchRoutes(),
    ReportApiKeyUse("r", ()),
    ReportTraffic(()),
    ReportRises(()),
]
OF_GATEWAYS += [WatchLogQueries(), ReportLogPage(1)]
OF_KEYS: list[Request] = [AddApiKey("k", "0" * 64, ("s",)), RevokeApiKey("k"), ListApiKeys()]
OF_KEYS += [UnblockApiKey("k")]
OF_USERS: list[Request] = [*OF_KEYS, GetRollout("s"), SteerRollout("s", "back"), ListServices()]
OF_USERS += [GetSecretKeys(), PutSecret("u", "e", {}), RemoveSecret("u", "e"), ListSecrets()]
OF_USERS += [ReadRequestLog(LogFilter("s", 0.0))]
USERS: list[Role] = ["submitter", "operator", "admin"]


@pytest.mark.parametrize("request_", OF_GATEWAYS)
def test_only_gateways_see_the_hashes_of_keys_and_report_use_and_traffic(request_: Request) -> None:
    assert not_for("gateway", request_) is None
    for role in USERS:
        denied = not_for(role, request_)
        assert denied is not None
        assert denied.kind == "not_allowed"


@pytest.mark.parametrize("request_", OF_USERS)
def test_gateways_manage_no_keys_and_no_rollouts(request_: Request) -> None:
    denied = not_for("gateway", request_)
    assert denied is not None
    assert denied.kind == "not_allowed"
    assert [not_for(role, request_) for role in USERS] == [None] * 3
