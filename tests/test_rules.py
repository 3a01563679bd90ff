"""The rules in `tests/conftest.py` that every test is held to, each seen to catch what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def outcomes(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> _Outcomes:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("TRUNKLINE_TEST_STACK", raising=False)
    pytester.makeconftest((ROOT / "tests/conftest.py").read_text())
    markers = "\n".join(f"    {name}: -" for name in ("capability(name)", "rabbitmq", "uvloop"))
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
        f"addopts = --strict-markers\nmarkers =\n{markers}\n"
    )
    return _Outcomes(pytester)


class _Outcomes:
    """Runs a file of tests under the rules."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester

    def of(self, source: str, *options: str) -> dict[str, int]:
        self._pytester.makepyfile(source)
        result = self._pytester.runpytest_subprocess("-p", "no:randomly", *options)
        return result.parseoutcomes()


def test_a_leaked_task_fails(outcomes: _Outcomes) -> None:
    source = """
        import asyncio

        async def test_leaks():
            test_leaks.task = asyncio.create_task(asyncio.Event().wait())

        async def test_tidies_up():
            task = asyncio.create_task(asyncio.Event().wait())
            task.cancel()

        def test_without_a_loop():
            pass
    """
    assert outcomes.of(source) == {"passed": 3, "errors": 1}


def test_a_test_that_hangs_fails_on_either_loop(outcomes: _Outcomes) -> None:
    source = """
        import asyncio, pytest

        @pytest.mark.uvloop
        @pytest.mark.timeout(2)
        async def test_hangs():
            await asyncio.Event().wait()
    """
    assert outcomes.of(source) == {"failed": 2}


def test_an_undeclared_skip_fails(outcomes: _Outcomes) -> None:
    source = """
        import pytest

        def test_undeclared():
            pytest.skip("not today")

        @pytest.mark.skip
        def test_marked():
            pass

        @pytest.mark.capability("ordered")
        def test_declared():
            pytest.skip("this transport cannot")

        @pytest.mark.xfail
        def test_expected_to_fail():
            assert False
    """
    assert outcomes.of(source) == {"failed": 1, "errors": 1, "skipped": 1, "xfailed": 1}


def test_a_file_that_skips_itself_fails(outcomes: _Outcomes) -> None:
    assert outcomes.of("import pytest; pytest.importorskip('no_such_module')") == {"errors": 1}


def test_a_test_that_takes_a_server_is_marked_by_it(outcomes: _Outcomes) -> None:
    source = """
        def test_with_a_broker(amqp_url):
            pass

        def test_without():
            pass
    """
    assert outcomes.of(source, "-m", "not rabbitmq") == {"passed": 1, "deselected": 1}
    assert outcomes.of(source) == {"passed": 1, "errors": 1}


def test_tests_that_run_side_by_side_are_held_to_the_rules_too(
    outcomes: _Outcomes, pytester: pytest.Pytester
) -> None:
    source = """
        import asyncio, pytest

        async def test_leaks():
            test_leaks.task = asyncio.create_task(asyncio.Event().wait())

        def test_undeclared():
            pytest.skip("not today")

        def test_with_a_broker(amqp_url):
            pass

        def test_well_behaved():
            pass
    """
    pytester.makepyfile(test_whole="import pytest; pytest.importorskip('no_such_module')")
    found = outcomes.of(source, "-n", "1", "--continue-on-collection-errors")
    assert found == {"passed": 2, "failed": 1, "errors": 3}


def test_what_a_test_configures_of_logging_ends_with_it(outcomes: _Outcomes) -> None:
    source = """
        import io, logging, structlog
        from services.chassis import telemetry

        def test_configures():
            telemetry.configure("json", "error", io.StringIO())

        def test_sees_nothing_of_it(caplog):
            assert not structlog.is_configured()
            logging.getLogger().warning("heard")
            assert "heard" in caplog.text
    """
    assert outcomes.of(source) == {"passed": 2}


def test_a_test_marked_uvloop_runs_on_both_loops(outcomes: _Outcomes) -> None:
    source = """
        import asyncio, pytest

        seen = []

        @pytest.mark.uvloop
        async def test_loop():
            seen.append(type(asyncio.get_running_loop()).__module__)

        def test_seen():
            assert [name.partition(".")[0] for name in seen] == ["asyncio", "uvloop"]
    """
    assert outcomes.of(source) == {"passed": 3}
