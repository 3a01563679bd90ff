"""The body's own error comes out as it is; the tasks' errors come out as a group."""

from __future__ import annotations

import asyncio

import pytest

from bus.tasks import task_group


async def fail() -> None:
    raise ValueError("a task's")


async def fail_in_body() -> None:
    async with task_group() as tasks:
        tasks.create_task(asyncio.Event().wait())
        raise KeyError("the body's") from OSError("its cause")


async def fail_in_task() -> None:
    async with task_group() as tasks:
        tasks.create_task(fail())
        await asyncio.Event().wait()


async def fail_in_both() -> None:
    async with task_group() as tasks:
        tasks.create_task(fail())
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise KeyError("the body's") from None


async def test_the_bodys_error_is_bare_keeps_its_cause_and_ends_the_tasks() -> None:
    with pytest.raises(KeyError) as raised:
        await fail_in_body()
    assert isinstance(raised.value.__cause__, OSError)
    assert not isinstance(raised.value.__context__, BaseExceptionGroup)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_tasks_error_is_in_a_group_and_ends_the_body() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        await fail_in_task()
    assert [str(error) for error in raised.value.exceptions] == ["a task's"]


async def test_both_come_out_together() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        await fail_in_both()
    assert {type(error) for error in raised.value.exceptions} == {KeyError, ValueError}


async def test_cancellation_goes_through() -> None:
    async def body() -> None:
        async with task_group():
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(body())
        await asyncio.sleep(0)
        running.cancel()
    assert running.cancelled()
