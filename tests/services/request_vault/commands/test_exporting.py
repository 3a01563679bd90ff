"""`trunkline vault export` and `import`: what arrives is what left, and what does not fit is named."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bus import codec
from bus.errors import BusError
from services.request_vault.domain import ndjson
from services.request_vault.domain.links import Anchor, Gone, Seal
from tests.services.request_vault.commands.a_vault import CALLS, AVault, filled
from tests.services.request_vault.samples import order

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> AVault:
    """Only read."""
    return filled(tmp_path_factory.mktemp("exported") / "data")


@pytest.fixture(scope="module")
def lines(vault: AVault, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    file = tmp_path_factory.mktemp("lines") / "vault.ndjson"
    vault.ok("export", str(file))
    return file.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_everything_arrives_as_it_left(vault: AVault, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"vault.ndjson{suffix}"
    exported = vault.ok("export", str(file))
    assert exported["size_bytes"] == file.stat().st_size
    assert file.stat().st_mode & 0o777 == 0o600, "it holds what was captured"
    other = AVault(tmp_path / "other")
    imported = other.ok("import", str(file))
    assert imported["lines"] == exported["lines"]
    assert imported["new"] == sum(end.number for end in vault.contents()[0])
    assert other.contents() == vault.contents()
    kinds = {type(link) for link in other.contents()[1]}
    assert {Gone, Anchor, Seal} <= kinds
    assert [path.read_bytes() for path in other.body_files()] == [
        path.read_bytes() for path in vault.body_files()
    ]
    assert other.ok("verify")["bodies"] == CALLS - 2
    assert other.ok("stats")["published_to"] == 2
    again = tmp_path / "again.ndjson"
    other.ok("export", str(again))
    first = tmp_path / "first.ndjson"
    vault.ok("export", str(first))
    assert again.read_bytes() == first.read_bytes()


def test_every_line_is_a_cloudevent_and_bodies_come_first(lines: list[bytes]) -> None:
    documents = [json.loads(line) for line in lines]
    types = [document["type"] for document in documents]
    assert (types[0], types[-1]) == (ndjson.OWN + "begun", ndjson.OWN + "ended")
    bodies = [at for at, type in enumerate(types) if type == ndjson.OWN + "body"]
    events = [at for at, type in enumerate(types) if not type.startswith(ndjson.OWN)]
    assert max(bodies) < min(events)
    for document in documents:
        assert {"specversion", "id", "source", "type"} <= set(document)
        names = set(document) - {"data_base64"}
        assert all(name.isascii() and name.isalnum() and name.islower() for name in names)
    begun, ended = documents[0]["data"], documents[-1]["data"]
    assert (begun["format"], begun["engine"], len(begun["ends"])) == (1, "sqlite", 3)
    assert ended["lines"] == len(lines)
    assert ended["bodies"] == CALLS - 2


def test_events_are_what_was_published(lines: list[bytes]) -> None:
    for line in lines:
        document = json.loads(line)
        if document["type"] == "shop.order.placed":
            plain = {name: value for name, value in document.items() if name != "data_base64"}
            event = codec.from_cloudevent(plain, received_at=order(1).time)
            number = int(event.id.removeprefix("order-"))
            expected = order(number, key="orders")
            assert (event.identity, event.subject, event.time) == (
                expected.identity,
                expected.subject,
                expected.time,
            )
            return
    raise AssertionError("no order was exported")


def test_through_a_pipe(vault: AVault, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-m", "services", "vault"]
    with subprocess.Popen(
        [*command, "export", "-", "--data-dir", str(vault.data_dir)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as exporting:
        done = subprocess.run(
            [*command, "import", "-", "--data-dir", str(tmp_path / "other")],
            env=environment,
            stdin=exporting.stdout,
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )
        assert exporting.stderr is not None
        assert b"Exported" in exporting.stderr.read()
    assert (exporting.returncode, done.returncode) == (0, 0), done.stderr
    assert "verified" in done.stdout
    assert AVault(tmp_path / "other").contents() == vault.contents()


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_an_export_that_breaks_off_is_taken_up(vault: AVault, tmp_path: Path, suffix: str) -> None:
    whole, torn = tmp_path / f"whole{suffix}", tmp_path / f"torn{suffix}"
    vault.ok("export", str(whole))
    content = whole.read_bytes()
    other = AVault(tmp_path / "other")
    reached = 0
    shares = random.Random(7).sample(range(1, 100), 4)
    for share in sorted(shares):
        torn.write_bytes(content[: len(content) * share // 100])
        said = other.refused("import", str(torn), slug="export-torn")
        assert "breaks off" in said
        assert "goes on there" in said
        if other.database.exists():
            there = sum(end.number for end in other.contents()[0])
            assert there >= reached
            reached = there
    told = other.ok("import", str(whole))
    assert told["new"] == sum(end.number for end in vault.contents()[0]) - reached
    assert other.contents() == vault.contents()
    assert other.ok("verify")["sound"]
    assert other.ok("import", str(whole))["new"] == 0


def test_killed_in_the_middle_it_is_taken_up(vault: AVault, lines: list[bytes], tmp_path: Path) -> None:
    other = AVault(tmp_path / "other")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
    environment |= {"PYTHONPATH": str(ROOT), "TRUNKLINE_DATA_DIR": str(other.data_dir)}
    with subprocess.Popen(
        [sys.executable, "-m", "services", "vault", "import", "-"], env=environment, stdin=subprocess.PIPE
    ) as victim:
        assert victim.stdin is not None
        victim.stdin.writelines(lines[: len(lines) * 3 // 4])
        victim.stdin.flush()
        until = time.monotonic() + 30
        while not (other.database.exists() and reached(other)):
            assert time.monotonic() < until, "nothing was taken in"
        victim.kill()
    whole = tmp_path / "whole"
    whole.write_bytes(b"".join(lines))
    assert 0 < other.ok("import", str(whole))["new"] < sum(end.number for end in vault.contents()[0])
    assert other.contents() == vault.contents()
    assert other.ok("verify")["sound"]


def reached(vault: AVault) -> int:
    with suppress(BusError, FileNotFoundError):  # it is being made
        return sum(end.number for end in vault.contents()[0])
    return 0


def test_the_line_that_breaks_off_is_named(lines: list[bytes], tmp_path: Path) -> None:
    other = AVault(tmp_path / "other")
    file = tmp_path / "torn.ndjson"
    file.write_bytes(b"".join(lines[:100]) + lines[100][:50])
    assert "breaks off in line 101;" in other.refused("import", str(file), slug="export-torn")
    file.write_bytes(b"".join(lines[:-1]))
    said = other.refused("import", str(file), slug="export-torn")
    assert f"breaks off after line {len(lines) - 1};" in said


def test_a_later_export_goes_on_where_the_first_ended(tmp_path: Path) -> None:
    vault = filled(tmp_path / "data", orders=50, gone=False)
    other = AVault(tmp_path / "other")
    vault.ok("export", str(tmp_path / "first"))
    other.ok("import", str(tmp_path / "first"))

    async def more() -> None:
        async with vault.opened() as store:
            await store.record([order(number, key="orders") for number in range(50, 70)])
            await store.erase("7xzcnsgbwox2", ["call-5"], by="me", why="")

    asyncio.run(more())
    vault.ok("export", str(tmp_path / "second"))
    assert other.ok("import", str(tmp_path / "second"))["new"] == 20
    assert other.ok("verify", "--no-bodies")["erased"] == 1
    assert other.contents()[0] == vault.contents()[0]


def line_with(document: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps(document | changes).encode() + b"\n"


def test_what_was_changed_on_the_way_is_refused(lines: list[bytes], tmp_path: Path) -> None:
    at = next(n for n, line in enumerate(lines) if b'"shop.order.placed"' in line)
    document = json.loads(lines[at])
    body = next(n for n, line in enumerate(lines) if b"export.body" in line)
    piece = json.loads(lines[body])
    end = json.loads(lines[-1])
    changed: dict[str, tuple[list[bytes], str, str]] = {
        "an event's subject": (
            [*lines[:at], line_with(document, subject="o-else"), *lines[at + 1 :]], "links-differ", "match"
        ),
        "an event's position": (
            [*lines[:at], line_with(document, position="1:99999"), *lines[at + 1 :]], "links-differ", "99999"
        ),
        "an event is left out": ([*lines[:at], *lines[at + 1 :]], "links-differ", "cannot follow"),
        "a line is no line": (
            [*lines[:at], b"rubbish\n", *lines[at + 1 :]], "export-invalid", f"line {at + 1}:"
        ),
        "a body's bytes": (
            [*lines[:body], line_with(piece, data_base64="AAAA"), *lines[body + 1 :]],
            "export-invalid",
            f"line {body + 1}",
        ),
        "a body is left out": ([*lines[:body], *lines[body + 1 :]], "export-invalid", "some are missing"),
        "no beginning": (lines[1:], "export-invalid", "its first line"),
        "two exports": ([*lines, *lines], "export-invalid", "after the last one"),
        "nothing": ([], "export-invalid", "is empty"),
        "of a later format": (
            [lines[0].replace(b'"format":1', b'"format":9'), *lines[1:]], "export-invalid", "format 9"
        ),
        "an end that says otherwise": (
            [*lines[:-1], line_with(end, data=end["data"] | {"bodies": 5})], "export-invalid", "missing"
        ),
    }  # fmt: skip
    for what, (content, slug, said) in changed.items():
        other = AVault(tmp_path / what)
        file = tmp_path / "changed.ndjson"
        file.write_bytes(b"".join(content))
        assert said in other.refused("import", str(file), slug=slug), what


def test_another_vaults_log_does_not_mix_in(vault: AVault, tmp_path: Path) -> None:
    other = filled(tmp_path / "other", orders=30, gone=False)
    vault.ok("export", str(tmp_path / "file"))
    before = other.contents()
    assert "cannot be told" in other.refused("import", str(tmp_path / "file"), slug="links-differ")
    assert other.contents() == before
    whole = filled(tmp_path / "whole", orders=40, gone=False)
    whole.ok("export", str(tmp_path / "whole-file"))
    assert "here already" in other.refused("import", str(tmp_path / "whole-file"), slug="links-differ")
    assert other.contents() == before
    narrow = AVault(tmp_path / "narrow")

    async def make() -> None:
        async with narrow.opened(partitions=1):
            pass

    asyncio.run(make())
    said = narrow.refused("import", str(tmp_path / "file"), slug="export-invalid")
    assert "in 1 partition" in said


async def test_a_vault_that_runs_is_exported_and_not_imported_into(vault: AVault, tmp_path: Path) -> None:
    other = await asyncio.to_thread(filled, tmp_path / "other", orders=30, gone=False)
    file = tmp_path / "file.ndjson.gz"
    async with other.opened():
        told = await asyncio.to_thread(other.ok, "export", str(file))
        assert told["bodies"] == CALLS
        said = await asyncio.to_thread(lambda: other.refused("import", str(file), slug="vault-in-use"))
        assert f"process {os.getpid()}" in said
    assert len(gzip.decompress(file.read_bytes()).splitlines()) == told["lines"]


def test_a_file_that_is_there_stays(vault: AVault, tmp_path: Path) -> None:
    file = tmp_path / "there"
    file.write_text("precious")
    vault.refused("export", str(file), slug="export-exists")
    assert file.read_text() == "precious"
    vault.ok("export", str(file), "--force", "--no-bodies")
    assert file.read_text().startswith('{"specversion"')
    assert list(tmp_path.iterdir()) == [file]
    vault.refused("export", str(tmp_path / "no" / "folder"), slug="cannot-write")
    vault.refused("import", str(tmp_path / "no" / "file"), slug="cannot-write")


def test_a_damaged_vault_is_not_exported(tmp_path: Path) -> None:
    vault = filled(tmp_path / "data", orders=30, gone=False)
    content = bytearray(vault.database.read_bytes())
    content[content.index(b"order-17\xa4shop\xb1shop.order.placed") + 4] ^= 1
    vault.database.write_bytes(content)
    file = tmp_path / "file"
    assert "(1, 18)" in vault.refused("export", str(file), slug="vault-unsound")
    assert not file.exists()
    assert vault.run("verify", "--no-models").code == 1


def test_an_erasure_that_goes_on_is_waited_for(tmp_path: Path) -> None:
    vault = filled(tmp_path / "data", orders=5, gone=False)
    (vault.folder / "erasures").mkdir()
    running = vault.folder / "erasures" / "e-1.json"
    running.write_text("{}")
    assert "e-1.json" in vault.refused("export", str(tmp_path / "file"), slug="erasure-running")
    assert not (tmp_path / "file").exists()
    running.unlink()
    vault.ok("export", str(tmp_path / "file"))
