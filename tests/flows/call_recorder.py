"""Records which functions of the product a process calls while a window is open."""

from __future__ import annotations

import asyncio
import inspect
import mmap
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType

from storage import sql

ROOT = Path(__file__).resolve().parents[2]
# The record of a stored file. A window may open with its call, or close with its return.
MARK = ("storage/documents/file_records.py", "record_stored")
SHARED_NAME, CALLS_NAME = "window", "calls"
OPEN, UNTIL_MARK, FROM_MARK = 1, 2, 3
_SIZE_BYTES = 16


class Window:
    """The window that is open, in memory that all processes share by a file of `folder`.

    Two numbers: the window, 0 if none, and how it begins or ends.
    """

    def __init__(self, folder: Path) -> None:
        file = os.open(folder / SHARED_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(file, _SIZE_BYTES)
        self.numbers = memoryview(mmap.mmap(file, _SIZE_BYTES)).cast("q")
        os.close(file)

    def open(self, number: int, kind: int = OPEN) -> None:
        """Open window `number`; with FROM_MARK, as soon as a process calls the function MARK."""
        self.numbers[1] = kind
        self.numbers[0] = number

    def close(self) -> None:
        """Record nothing more."""
        self.numbers[0] = 0


class CallRecorder:
    """Appends a line for each function that a thread or an asyncio task calls in a window.

    A line has the window, the role of the process, the name of the thread or task, the file and
    the function.
    """

    def __init__(self, folder: Path, role: str) -> None:
        self._role = role
        self._numbers = Window(folder).numbers
        self._log = os.open(folder / CALLS_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._files: dict[CodeType, str | None] = {}

    def install(self) -> None:
        """Record the calls of this thread, of threads that begin later, and of forked processes."""
        for name in ("function", "statement"):
            setattr(sql, name, self._noting(getattr(sql, name)))
        threading.setprofile(self._begin_thread)
        sys.setprofile(self._begin_thread)

    def _noting(self, find: Callable[[str], object]) -> Callable[[str], object]:
        """Return `find` with a note of each statement that it is called for."""

        def noted(name: str) -> object:
            if self._numbers[0] and self._numbers[1] != FROM_MARK:
                self._write(self._numbers[0], _caller(), f"{name}.sql", name)
            return find(name)

        return noted

    def _begin_thread(self, frame: FrameType, event: str, argument: object) -> None:
        profile = self._thread_profile()
        sys.setprofile(profile)
        profile(frame, event, argument)

    def _thread_profile(self) -> Callable[[FrameType, str, object], None]:
        """Return the profile function of one thread."""
        numbers, files, seen = self._numbers, self._files, set[tuple[CodeType, str]]()
        current = 0

        def profile(frame: FrameType, event: str, _argument: object) -> None:
            nonlocal current
            window = numbers[0]
            if not window or event not in ("call", "return"):
                return
            code = frame.f_code
            if code not in files:
                files[code] = _product_file(code)
            file = files[code]
            if file is None:
                return
            if numbers[1] != OPEN and (file, code.co_name) == MARK:
                if numbers[1] == UNTIL_MARK and event == "return":
                    numbers[0] = 0
                    return
                if numbers[1] == FROM_MARK and event == "call":
                    numbers[1] = OPEN
            if numbers[1] == FROM_MARK or event != "call":
                return
            if window != current:
                seen.clear()
                current = window
            caller = _caller()
            if (code, caller) not in seen:
                seen.add((code, caller))
                self._write(window, caller, file, code.co_qualname)

        return profile

    def _write(self, window: int, caller: str, file: str, function: str) -> None:
        line = "\t".join((str(window), self._role, caller, file, function))
        os.write(self._log, f"{line}\n".encode())


def _caller() -> str:
    """Return the name of the asyncio task that runs in this thread, or of the thread."""
    task = asyncio.current_task() if asyncio._get_running_loop() else None
    return task.get_name() if task else threading.current_thread().name


def _product_file(code: CodeType) -> str | None:
    """Return the file of a function below the root; None for the bodies of modules and classes."""
    if not code.co_flags & inspect.CO_OPTIMIZED or not code.co_filename.startswith(f"{ROOT}/"):
        return None
    return code.co_filename.removeprefix(f"{ROOT}/")
