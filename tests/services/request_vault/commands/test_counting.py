"""`trunkline vault stats`: what is there, of what, from the vault's own files."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from bus import codec
from schemas.identity import BucketChanged, BucketDeleted, Retention
from schemas.request_vault import StreamWrite
from tests.services.request_vault.commands.a_vault import CALLS, AVault, filled
from tests.services.request_vault.samples import BUCKET, START, event_of


def test_a_vault_of_everything(tmp_path: Path) -> None:
    vault = filled(tmp_path / "data")
    told = vault.ok("stats")
    assert told["engine"] == "sqlite"
    assert told["vault"] == str(vault.database)
    assert told["calls"] == CALLS - 2
    assert told["bodies"] == CALLS - 2
    assert told["bodies_bytes"] == sum(path.stat().st_size for path in vault.body_files())
    assert told["database_bytes"] >= vault.database.stat().st_size
    assert {(model["name"], model["state"]) for model in told["models"]} == {
        ("calls", "ready"), ("events", "ready")
    }  # fmt: skip
    assert told["text_behind"] == CALLS - 2, "nobody has indexed them yet"
    assert told["retention"] == {"max_age_s": None, "max_calls": None, "max_bytes": None}
    assert told["partitions"] == [end.number for end in vault.contents()[0]]
    assert told["oldest"] == told["newest"] == START.isoformat().replace("+00:00", "Z")
    orders, shop = told["buckets"] if told["buckets"][0]["key"] == "orders" else told["buckets"][::-1]
    assert (orders["key"], orders["events"], orders["calls"], orders["name"]) == ("orders", 1150, 0, None)
    assert (shop["key"], shop["calls"], shop["name"], shop["deleted"]) == (BUCKET, CALLS - 2, "shop", False)
    said = vault.run("stats").out
    for part in (str(vault.database), "38", "shop", "ever", "of them gone"):
        assert part in said


def test_what_a_bucket_keeps_and_that_it_was_deleted(tmp_path: Path) -> None:
    vault = filled(tmp_path / "data", orders=3, gone=False)
    limits = Retention(max_age_s=7 * 86_400, max_calls=1000, max_bytes=5_000_000)
    changed = BucketChanged(BUCKET, "tea shop", capture="strict", body_cap_bytes=0, retention=limits)

    async def decide(version: int, *events: bytes) -> None:
        async with vault.opened() as store:
            await store.append_all([StreamWrite(f"identity.bucket-{BUCKET}", version, events)])

    event = event_of(changed, "changed", key=BUCKET, subject=BUCKET)
    asyncio.run(decide(1, codec.encode_event(event)))
    (shop,) = (bucket for bucket in vault.ok("stats")["buckets"] if bucket["key"] == BUCKET)
    assert (shop["name"], shop["retention"]) == ("tea shop", msgspec.to_builtins(limits))
    assert "7 d, 1 000 calls, 5.0 MB" in vault.run("stats").out
    assert "1 decision not on the bus yet" in vault.run("stats").out
    deleted = event_of(BucketDeleted(BUCKET), "deleted", key=BUCKET, subject=BUCKET)
    asyncio.run(decide(2, codec.encode_event(deleted)))
    assert "tea shop (deleted)" in vault.run("stats").out


def test_an_empty_vault(tmp_path: Path) -> None:
    vault = AVault(tmp_path / "data")

    async def make() -> None:
        async with vault.opened():
            pass

    asyncio.run(make())
    told = vault.ok("stats")
    assert (told["events"], told["oldest"], told["newest"], told["buckets"]) == (0, None, None, [])
    assert vault.run("stats").code == 0
    assert vault.ok("verify")["sound"]
