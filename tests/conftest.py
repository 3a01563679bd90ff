"""What every test may use: the private servers' addresses, and the rules that every test is held to.

Servers: take `amqp_url`, `redis_url`, `postgres_url`, or `broker` to kill and restart RabbitMQ; the marker
follows by itself, and `make test-embedded` leaves such tests out. They are run by `make test`, or one file of
them by `python -m deploy.stack run -- pytest FILE`. Tests that run side by side (`-n auto`) have servers of
their own each.

Rules: a test that leaves a task behind fails. A test that skips fails, unless
`@pytest.mark.capability("...")` says that a transport or store may lack what it is about.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Mapping
from typing import Any

import pytest
import pytest_asyncio
import structlog

from deploy.stack import Server, Stack, copies
from services.chassis import telemetry
from tests.vhosts import Vhosts

MARKER_OF_FIXTURE = {
    "amqp_url": "rabbitmq",
    "amqps_url": "rabbitmq",
    "shared_amqp_url": "rabbitmq",
    "broker": "rabbitmq",
    "redis_url": "redis",
    "postgres_url": "postgres",
}


# --- servers
# ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The servers that this run was started under: of several stacks one that no other worker has."""
    attached = Stack.attached()
    for found in attached:
        with found.taken() as own:
            if own:
                yield found
                return
    if attached:
        why = f"others run tests on the {len(attached)} stack(s) there are: see --copies of"
    else:
        why = "this test needs servers: run it with `make test`, or"
    pytest.fail(f"{why} `python -m deploy.stack run -- pytest ...`", pytrace=False)


def _server(stack: Stack, name: str) -> Server:
    if name not in stack:
        pytest.fail(
            f"this run's stack has no {name}: see --only of `python -m deploy.stack run`", pytrace=False
        )
    return stack[name]


@pytest.fixture(scope="session")
def shared_amqp_url(stack: Stack) -> str:
    """RabbitMQ's address, its default virtual host, which all tests share."""
    return _server(stack, "rabbitmq").url


@pytest.fixture(scope="session")
def _vhosts(stack: Stack) -> Iterator[Vhosts]:
    with Vhosts(_server(stack, "rabbitmq")) as pool:
        yield pool


@pytest.fixture
def amqp_url(_vhosts: Vhosts) -> Iterator[str]:
    """RabbitMQ's address, with a fresh virtual host: no other test's exchanges and queues are there."""
    vhost = _vhosts.take()
    yield _vhosts.url(vhost)
    _vhosts.give_back(vhost)


@pytest.fixture
def amqps_url(stack: Stack) -> str:
    """RabbitMQ's address over TLS, its default virtual host; `ca` in it names the file to trust."""
    url = _server(stack, "rabbitmq").spec.tls_url
    if not url:
        pytest.fail("this test needs RabbitMQ with TLS: install openssl, from which it gets a certificate")
    return url


@pytest.fixture
def broker(stack: Stack) -> Iterator[Server]:
    """RabbitMQ itself, to be killed, frozen and started again; it serves again when the test is over.

    Its methods block: `await asyncio.to_thread(broker.kill)`.
    """
    server = _server(stack, "rabbitmq")
    yield server
    if server.running:
        server.resume()
    server.start()


@pytest.fixture
def redis_url(stack: Stack) -> Iterator[str]:
    """Redis' address, database 0; it is emptied when the test is over."""
    server = _server(stack, "redis")
    yield server.url
    server.start()
    server.control("flushall")


@pytest.fixture(scope="session")
def postgres_url(stack: Stack) -> str:
    """PostgreSQL's address, with a database that all tests share: make a schema for each test."""
    return _server(stack, "postgres").url


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many workers `-n auto` is: each needs a stack of its own, when there are any."""
    return len(Stack.attached()) or copies()


# --- rules
# ------------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_leaked_task(request: pytest.FixtureRequest) -> None:
    """Fail a coroutine test after which a task is left, its fixtures' own included."""
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        request.getfixturevalue("_task_watch")


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Logging is the process's own: what a test configures ends with it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    others = {name: logging.getLogger(name).level for name in (*telemetry.QUIETER, *telemetry.MUTE)}
    yield
    if root.handlers == handlers and not structlog.is_configured():
        return
    root.handlers, root.level = handlers, level
    for name, before in others.items():
        logging.getLogger(name).setLevel(before)
    structlog.reset_defaults()


@pytest_asyncio.fixture
async def _task_watch() -> AsyncIterator[None]:
    # Set up before the test's fixtures and so torn down after them.
    before = asyncio.all_tasks()
    yield
    own = asyncio.current_task()
    for _ in range(3):
        # What was cancelled just now ends within a turn or two of the loop.
        left = asyncio.all_tasks() - before - {own}
        if not left:
            return
        await asyncio.sleep(0)
    if left := asyncio.all_tasks() - before - {own}:
        names = "\n".join(f"  {task!r}" for task in left)
        for task in left:
            task.cancel()
        pytest.fail(f"tasks were left running:\n{names}", pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the servers that they take, before `-m` selects; bound coroutine tests in time."""
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in MARKER_OF_FIXTURE:
                item.add_marker(MARKER_OF_FIXTURE[fixture])
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.obj = _bounded(item.obj, _timeout_s(item) * 0.8)


def _timeout_s(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    given = item.config.getoption("timeout") or item.config.getini("timeout")
    return float(marker.args[0] if marker is not None and marker.args else given or 0)


def _bounded(
    test: Callable[..., Coroutine[Any, Any, None]], timeout_s: float
) -> Callable[..., Coroutine[Any, Any, None]]:
    # pytest-timeout's signal ends a test where Python is, which uvloop does not let through. This ends it
    # where the test waits, so that its fixtures are torn down; the signal is for what does not let itself be
    # cancelled.
    @functools.wraps(test)
    async def bounded(*arguments: Any, **fixtures: Any) -> None:
        async with asyncio.timeout(timeout_s or None):
            await test(*arguments, **fixtures)

    return bounded


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip that no capability declares into a failure."""
    report = yield
    declared = item.get_closest_marker("capability") is not None or hasattr(report, "wasxfail")
    if report.skipped and not declared:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: an undeclared skip ({call.excinfo and call.excinfo.value})"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A file that skips itself whole (importorskip) fails too."""
    report = yield
    if report.outcome == "skipped":
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid}: an undeclared skip of a whole file"
    return report


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run tests marked `uvloop` on both event loops, and all others on asyncio's."""
    if item.get_closest_marker("uvloop") is None:
        return {"asyncio": asyncio.new_event_loop}
    import uvloop

    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
