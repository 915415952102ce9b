"""Test that no background task of the server ends unnoticed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from structlog.testing import capture_logs

from server.access.authentication import Authenticator
from server.runtime.event_loop import Background, log_unseen_errors
from storage.clients.client_registry import CallingClient, ClientLimits
from storage.clients.clients_file import ClientsFile

LIMITS = ClientLimits(*[1] * 5)


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.001)


def test_a_task_that_an_error_ends_begins_again_and_each_error_is_logged_once() -> None:
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs < 5:
            raise ValueError("the same")
        if runs == 5:
            raise KeyError("another")

    async def run() -> None:
        background = Background(restart_s=0.001)
        background.start("any", work)
        await _until(lambda: runs == 6)
        await background.stop()

    with capture_logs() as lines:
        asyncio.run(run())

    assert [(line["event"], line["task"]) for line in lines] == [
        ("background task failed; it begins again", "any")
    ] * 2


def test_a_task_that_swallows_a_cancellation_ends_all_the_same() -> None:
    swallowed = 0

    async def work() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed > 2:
                    raise

    async def run() -> None:
        background = Background()
        background.start("stubborn", work)
        await asyncio.sleep(0)
        await background.stop()

    asyncio.run(run())

    assert swallowed == 3


def test_tasks_end_when_they_are_stopped() -> None:
    async def run() -> int:
        background = Background()
        background.start("any", lambda: asyncio.sleep(600))
        await asyncio.sleep(0)
        await background.stop()
        return len(asyncio.all_tasks())

    assert asyncio.run(run()) == 1


def test_an_error_that_nothing_awaits_is_a_line_of_the_log() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        log_unseen_errors(loop)
        loop.call_soon(lambda: [][0])
        await asyncio.sleep(0)

    with capture_logs() as lines:
        asyncio.run(run())

    assert [line["event"] for line in lines] == ["error that nothing awaited"]
    assert isinstance(lines[0]["exc_info"], IndexError)


def test_a_failed_check_of_the_clients_file_is_not_the_last(tmp_path: Path) -> None:
    path = tmp_path / "clients.json"
    path.write_text('{"clients": [{"name": "a"}]}')

    class Breaking(ClientsFile):
        looks = 0

        def refresh(self) -> None:
            self.looks += 1
            if self.looks == 1:
                raise RuntimeError("any")
            super().refresh()

    file = Breaking(path, LIMITS)
    path.write_text('{"clients": [{"name": "another"}]}')
    before = file.registry

    async def run() -> None:
        background = Background(restart_s=0.001)
        background.start("clients", Authenticator(file, CallingClient("a")).keep_current)
        await _until(lambda: file.registry is not before)
        await background.stop()

    asyncio.run(run())
