"""`status`: the keys that services were started with."""

from __future__ import annotations

from typing import Any

from services.cli import exits
from tests.services.cli.a_fake_api import FakeApi


def a_service(name: str, key: str, state: str = "ready", beat_age_s: float = 0.5) -> dict[str, Any]:
    return {
        "service": name, "instance": name, "state": state, "host": "h", "pid": 1, "version": "1",
        "started_at": "2026-01-31T12:00:00Z", "restarts": 0, "announced": {"key": key}, "trouble": None,
        "beat_age_s": beat_age_s,
    }  # fmt: skip


def test_one_key(api: FakeApi) -> None:
    old = a_service("courier", "00000000", "stopped"), a_service("vivaldi", "11111111", beat_age_s=60)
    services = [a_service("api", "998e3ddd"), a_service("identity", "998e3ddd"), *old]
    api.answers["GET /v1/services"] = {"services": services}
    done = api.run("status")
    assert ("998e3ddd" in done.out, "different keys" in done.out) == (True, False)
    assert api.run("status", "--json").json["keys"] == ["998e3ddd"]


def test_different_keys_are_told(api: FakeApi) -> None:
    services = [a_service("api", "998e3ddd"), a_service("identity", "12345678")]
    api.answers["GET /v1/services"] = {"services": services}
    done = api.run("status")
    assert done.code == exits.OK
    for part in ("different keys", "12345678, 998e3ddd", "TRUNKLINE_SECRET_KEY"):
        assert part in done.out
    assert api.run("status", "--json").json["keys"] == ["12345678", "998e3ddd"]
