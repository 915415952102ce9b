"""Many threads ask for the same kind of thing: one of them at a time asks for all who wait.

So a process is one asker at the database, however many threads it has, and what is asked together
costs one round trip and one commit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")

# How much one round asks for at most.
MOST = 16


class _Waiter(Generic[Q, A]):
    """A thread that asks. Its gate opens when it has an answer, or is to lead the next round."""

    def __init__(self, question: Q) -> None:
        self.question = question
        self.answer: A
        self.is_answered = False
        self.error: BaseException | None = None
        self.gate = threading.Lock()
        self.gate.acquire()


class Combiner(Generic[Q, A]):
    """`work` answers questions in their order. Thread-safe."""

    def __init__(self, work: Callable[[Sequence[Q]], Sequence[A]]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._waiting: list[_Waiter[Q, A]] = []
        self._is_led = False

    def ask(self, question: Q) -> A:
        """The answer; what `work` raises, for everybody who asked in that round."""
        waiter: _Waiter[Q, A] = _Waiter(question)
        with self._lock:
            self._waiting.append(waiter)
            leads, self._is_led = not self._is_led, True
        if not leads:
            waiter.gate.acquire()
        if not waiter.is_answered:
            self._lead()
        if waiter.error is not None:
            raise waiter.error
        return waiter.answer

    def _lead(self) -> None:
        """One round, with whoever leads as its first; then the next who waits is to lead."""
        with self._lock:
            round_, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        try:
            answers = self._work([each.question for each in round_])
            for each, answer in zip(round_, answers, strict=True):
                each.answer = answer
        except BaseException as error:  # noqa: BLE001 - each of them raises it
            for each in round_:
                each.error = error
        with self._lock:
            successor = self._waiting[0] if self._waiting else None
            self._is_led = successor is not None
        for each in round_:
            each.is_answered = True
            each.gate.release()
        if successor is not None:
            successor.gate.release()
