"""The guide to the bus runs: its blocks of Python are put together into the files that their first lines
name, and do what the guide shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from bus.rabbitmq.topology import TIERS, Topology

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "bus.md").read_text()
SHOWN = """\
Stock(item='tea', left=40)
o-1 has its invoice (eu, order-1)
"""
REFUSED = """
import asyncio, bus
from shop import OrderPlaced, billing

async def main():
    async with bus.connect("embedded:shop.db", source="shop") as b:
        await b.declare(billing.subscription())
        await b.publish(OrderPlaced("o-2", -1), key="eu")
        async with b.serve(billing):
            while not await b.parked():
                await asyncio.sleep(0.01)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guide's files."""
    files: defaultdict[str, list[str]] = defaultdict(list)
    for name, content in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", GUIDE, re.DOTALL):
        files[name].append(content)
    assert GUIDE.count("```python") == sum(map(len, files.values())), "each block's first line names its file"
    place = tmp_path_factory.mktemp("guide")
    for name, parts in files.items():
        (place / name).write_text("\n\n".join(parts))
    return place


def ran(folder: Path, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_tour_on_the_embedded_transport(folder: Path) -> None:
    assert SHOWN in GUIDE
    for _ in range(2):  # the second time the journal is there already
        assert ran(folder, "shop.py", "embedded:tour.db") == SHOWN


def test_the_tour_on_rabbitmq(folder: Path, amqp_url: str) -> None:
    assert ran(folder, "shop.py", amqp_url) == SHOWN


def test_the_tests_in_the_guide_pass(folder: Path) -> None:
    wanted = (folder / "test_shop.py").read_text().count("async def test_")
    told = ran(
        folder,
        "-m",
        "pytest",
        "-q",
        "-c",
        str(ROOT / "pyproject.toml"),
        f"--rootdir={folder}",
        "test_shop.py",
    )
    assert f"{wanted} passed" in told


def test_parked_deliveries_are_listed_and_discarded(folder: Path) -> None:
    ran(folder, "-c", REFUSED)
    shown = GUIDE.partition("$ python parked.py embedded:shop.db\n")[2].partition("```")[0]
    assert ran(folder, "parked.py", "embedded:shop.db") == shown
    assert ran(folder, "parked.py", "embedded:shop.db") == ""


def test_the_table_of_the_topology_names_everything_that_exists_once() -> None:
    base = Topology().base()
    once = {spec.name for spec in base.exchanges} | {spec.name for spec in base.queues}
    tiers = {name for name in once if re.fullmatch(r"retry\.\d+s", name)}
    assert len(tiers) == TIERS
    assert {"retry.1s", "retry.2s", "retry.65536s"} <= tiers
    assert f"{TIERS} quorum queues" in GUIDE
    for name in (once - tiers) | {"retry.1s", "retry.2s", "retry.65536s"}:
        assert f"`{name}`" in GUIDE, name
