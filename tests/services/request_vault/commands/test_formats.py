"""What earlier versions wrote is read for ever: the golden examples are never edited."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

from services.request_vault.commands import manifest
from services.request_vault.commands.manifest import File, Head, Manifest
from services.request_vault.domain import ndjson
from tests.services.request_vault.commands.a_vault import AVault

GOLDEN = Path(__file__).parents[3] / "golden" / "request_vault"
EXPORT = GOLDEN / "export-1.ndjson"
CHAIN = "02306cfd663aaf718ded92b433ff0a16a3f5989a96824524c77ad06508db3735"


def test_format_1_of_exports_is_read(tmp_path: Path) -> None:
    vault = AVault(tmp_path / "data")
    told = vault.ok("import", str(EXPORT))
    assert {name: told[name] for name in ("events", "erased", "trimmed", "bodies", "new")} == {
        "events": 5, "erased": 1, "trimmed": 1001, "bodies": 1, "new": 1007
    }  # fmt: skip
    assert vault.ok("verify")["sound"]
    assert [(end.number, end.chain.hex()) for end in vault.contents()[0]] == [(2, "00" * 32), (1005, CHAIN)]
    again = tmp_path / "again.ndjson"
    vault.ok("export", str(again))
    assert again.read_bytes() == EXPORT.read_bytes()


def test_format_1_of_exports_is_written() -> None:
    """Another way to write a line is another format."""
    for line in EXPORT.read_bytes().splitlines(keepends=True):
        assert ndjson.encode(ndjson.decode(line)) == line


def test_format_1_of_manifests(tmp_path: Path) -> None:
    shutil.copyfile(GOLDEN / "backup-manifest-1.json", tmp_path / manifest.MANIFEST)
    running = (
        "b518af280e6f6393baa3d4a8edec4612731b4caa5278e33c968203ae315a1102",
        "ee750a5045da0b860232435b0cd8734d6c74fccebf3dc08b97b052e400170f6d",
    )
    read = manifest.read(tmp_path)
    assert read == Manifest(
        format=1,
        engine="sqlite",
        made_at=datetime(2026, 11, 23, 4, 41, 23, 675942, tzinfo=UTC),
        heads=(Head(0, 2, running[0], "00" * 32), Head(1, 1005, running[1], CHAIN)),
        events=5,
        erased=1,
        trimmed=1001,
        published_to=2,
        bodies=1,
        bodies_missing=(),
        files={"vault.db": File(737280, "bdaf079ee0fe2bc689f6dc692e9a34df1ab93ae14aa51df7d8ae812996ce2e0e")},
    )
    manifest.write(tmp_path, read)
    assert (tmp_path / manifest.MANIFEST).read_bytes() == (GOLDEN / "backup-manifest-1.json").read_bytes()
