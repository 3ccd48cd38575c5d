"""API keys: who may make one, for what, and what gateways are granted."""

from typing import Any

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.ids import UserName
from wattline_protocol.job.selection import only
from wattline_protocol.site.model import Role, Service
from wattline_protocol.wire.api_keys import AddApiKey, RevokeApiKey
from wattline_protocol.wire.client_messages import Answer, Cancel, Denied, Done
from wattline_scheduler.api_key_record import ApiKeyRecord
from wattline_scheduler.core.requests import api_keys
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.views.api_keys_view import api_key_views

DIGESTS = [f"{number:064x}" for number in range(10)]


def started(*services: Service) -> Harness:
    return joined(msgspec.structs.replace(site().rack("a", 2).build(), services=services))


def echo_of(h: Harness, user: str) -> int:
    return h.submit(job("echo").gpus(1).service(1), user=user)


def add(
    h: Harness,
    name: str = "shop",
    *services: str,
    user: str = "ada",
    role: Role = "submitter",
    digest: str = DIGESTS[1],
    **limits: float,
) -> Answer:
    request = AddApiKey(name, digest, services or ("echo",), **limits)  # type: ignore[arg-type]
    return h.ask(request, user=user, role=role)


def reason(answer: Answer) -> str:
    assert isinstance(answer, Denied), answer
    return answer.reason


def granted(h: Harness) -> dict[str, tuple[str, ...]]:
    state = h.cluster.state
    return {one.name: one.services for one in state.api_keys.grants(state.work.services)}


def test_a_key_is_on_record_before_it_is_acknowledged_and_survives_a_restart() -> None:
    h = started()
    echo_of(h, "ada")
    assert add(h, rate_per_s=50.0, valid_s=60.0) == Done(
        "API key shop of ada for echo, 50/s, burst 50"
    )
    (act,) = [one for one in h.acts() if one.kind == "api_key_added"]
    assert act.actor == "ada"
    assert act.text == "API key shop of ada for echo, 50/s, burst 50, for 1m"
    h.restart_scheduler()
    (grant,) = h.cluster.state.api_keys.grants(h.cluster.state.work.services)
    assert (grant.name, grant.digest, grant.services) == ("shop", DIGESTS[1], ("echo",))
    assert (grant.rate_per_s, grant.burst) == (50.0, 50)
    assert grant.expires_unix_s is not None


def test_a_key_has_a_priority_class_which_gateways_are_granted() -> None:
    h = started()
    echo_of(h, "ada")
    h.ask(AddApiKey("slow", DIGESTS[1], ("echo",), priority="batch"), user="ada", role="submitter")
    add(h, "plain", digest=DIGESTS[2])
    state = h.cluster.state
    grants = {one.name: one.priority for one in state.api_keys.grants(state.work.services)}
    views = api_key_views(state, Asker(UserName("ada"), "submitter"), h.now)
    assert grants == {one.name: one.priority for one in views}
    assert grants == {"slow": "batch", "plain": "normal"}
    texts = [one.text for one in h.acts() if one.kind == "api_key_added"]
    assert "API key slow of ada for echo, priority batch" in texts


def test_the_same_request_again_has_no_further_effect() -> None:
    h = started()
    echo_of(h, "ada")
    assert add(h) == add(h)
    assert len([one for one in h.acts() if one.kind == "api_key_added"]) == 1
    other = add(h, digest=DIGESTS[2])
    assert reason(other).startswith("API key shop already exists; choose another name")
    assert reason(add(h, "other")) == "this key already exists under another name"


def test_a_submitter_names_services_of_its_own_and_operators_any() -> None:
    h = started(Service("shared", ("ada", "bob")))
    echo_of(h, "ada")
    barred = add(h, user="bob")
    assert reason(barred) == "service echo belongs to ada (job 1); you are bob"
    assert any(one.kind == "act_refused" for one in h.acts())
    assert "no open service and no route of yours is named later" in reason(add(h, "k", "later"))
    assert isinstance(add(h, "k", "shared", user="bob"), Done)
    barred = add(h, "m", "shared", user="eve", digest=DIGESTS[3])
    assert reason(barred) == "service shared is for ada, bob ([[service]]); you are eve"
    early = Done("API key op of ada for later (later does not exist yet)")
    assert add(h, "op", "later", role="operator", digest=DIGESTS[4]) == early
    assert add(h, "op", "later", role="operator", digest=DIGESTS[4]) == early


def test_a_gateway_and_an_agent_make_no_keys() -> None:
    h = started()
    for role in ("gateway", "agent"):
        assert "requires the role submitter" in reason(add(h, role=role))


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (AddApiKey("a/b", DIGESTS[1], ("echo",)), "is not a valid name"),
        (AddApiKey("a", DIGESTS[1], ("../echo",)), "is not a valid name"),
        (AddApiKey("a", DIGESTS[1], ()), "0 services: a key is for 1 to 16"),
        (AddApiKey("a", DIGESTS[1], tuple(f"s{n}" for n in range(17))), "17 services"),
        (AddApiKey("a", DIGESTS[1], ("echo",), burst=5), "a burst needs a rate"),
    ],
)
def test_what_is_no_key_is_refused(request_: AddApiKey, why: str) -> None:
    assert why in reason(started().ask(request_))


def test_a_revoked_key_is_granted_no_more_and_its_name_is_free() -> None:
    h = started()
    echo_of(h, "ada")
    add(h)
    assert reason(h.ask(RevokeApiKey("shop"), user="bob", role="submitter")) == (
        "API key shop belongs to ada; you are bob"
    )
    done = Done("API key shop is revoked")
    assert h.ask(RevokeApiKey("shop"), user="ada", role="submitter") == done
    assert granted(h) == {}
    assert h.ask(RevokeApiKey("shop"), user="ada", role="submitter") == done, "a repeat"
    assert "no API key 'shop'" in reason(h.ask(RevokeApiKey("shop"), user="bob", role="submitter"))
    h.restart_scheduler()
    assert granted(h) == {}
    (record,) = h.disk.of(ApiKeyRecord)
    assert record.revoked_by == "ada"
    assert isinstance(add(h, digest=DIGESTS[2]), Done)
    assert granted(h) == {"shop": ("echo",)}


def test_an_operator_revokes_any_key() -> None:
    h = started()
    echo_of(h, "ada")
    add(h)
    assert isinstance(h.ask(RevokeApiKey("shop")), Done)


def test_a_name_that_passes_to_another_user_is_opened_by_no_key_of_the_former_one() -> None:
    h = started()
    number = echo_of(h, "ada")
    add(h)
    add(h, "op", role="operator", user="olga", digest=DIGESTS[2])
    h.do(Cancel(only(number)))  # type: ignore[arg-type]
    h.run(2)
    assert granted(h) == {"op": ("echo",), "shop": ("echo",)}, "no worker answers anyway"
    theirs = echo_of(h, "bob")
    assert granted(h) == {"op": ("echo",), "shop": ()}
    h.do(Cancel(only(theirs)))  # type: ignore[arg-type]
    h.run(2)
    echo_of(h, "ada")
    assert granted(h)["shop"] == ("echo",)


def test_users_see_their_own_keys_and_operators_all() -> None:
    h = started(Service("echo", ("ada", "bob")))
    add(h, "a", valid_s=5.0)
    add(h, "b", user="bob", digest=DIGESTS[2])

    def seen(user: str, role: Role) -> list[tuple[str, bool]]:
        views = api_key_views(h.cluster.state, Asker(UserName(user), role), h.now)
        return [(view.name, view.is_expired) for view in views]

    assert seen("ada", "submitter") == [("a", False)]
    assert seen("olga", "operator") == [("a", False), ("b", False)]
    h.run(6)
    assert seen("ada", "submitter") == [("a", True)]


def test_keys_are_bounded_by_user_and_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MAX_OF_USER", 2)
    monkeypatch.setattr(api_keys, "MAX_OF_SITE", 3)
    h = started(Service("echo", ("ada", "bob")))
    for number in range(2):
        assert isinstance(add(h, f"k{number}", digest=DIGESTS[number]), Done)
    assert reason(add(h, "k2", digest=DIGESTS[2])) == (
        "ada has 2 API keys, the maximum; revoke some"
    )
    assert isinstance(add(h, "k2", user="bob", digest=DIGESTS[2]), Done)
    full = add(h, "k3", user="bob", digest=DIGESTS[3])
    assert reason(full) == "the site has 3 API keys, the maximum; revoke some"


def test_keys_are_bounded_by_what_they_take_in_the_message_to_gateways(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """2,000 keys for 16 services each with long names left no place for services and routes."""
    names = tuple(f"{number:02d}{'x' * 62}" for number in range(api_keys.MAX_SERVICES))
    limits: dict[str, Any] = {
        "tier": "t" * 64,
        "rate_per_s": 1e-300,
        "burst": 2**31 - 1,
        "valid_s": 1e8,
        "tokens_per_day": 2**40,
    }
    h = started()
    for number in range(2):
        answer = add(
            h,
            f"{number}{'k' * 63}",
            *names,
            role="operator",
            digest=DIGESTS[number],
            **limits,
        )
        assert isinstance(answer, Done)
    book = h.cluster.state.api_keys
    size = len(msgspec.msgpack.encode(book.grants(h.cluster.state.work.services)))
    assert size <= book.bytes_of.total() <= 1.2 * size
    for bound in ("MAX_BYTES_OF_USER", "MAX_BYTES_OF_SITE"):
        with monkeypatch.context() as patch:
            patch.setattr(api_keys, bound, book.bytes_of.total() + 100)
            denied = reason(add(h, "more", *names, role="operator", digest=DIGESTS[3]))
        assert "name fewer services, or revoke some" in denied
    for name in list(book.by_name):
        h.do(RevokeApiKey(name))
    assert not book.bytes_of
