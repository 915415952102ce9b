"""Many threads ask for the same kind of thing: one of them at a time asks for all who wait.

So a process is one asker at the database, however many threads it has, and what is asked together
costs one round trip, one commit, and one plan of each statement.

While requests are short there are threads in plenty. Then a round waits a moment for more of them,
unless everybody is there already, and who has got nothing stays for the next ones: a thread that
ends has to be woken by a message. When requests are long, nobody waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")

# How much one round asks for at most.
MOST = 16
# What a process does in a second at least, while its rounds wait: threads that are not needed for
# that are to spare.
RATE_PER_S = 150
# How long a round waits at most; and how many times as long as rounds take. They take long while
# processors are busy, and then a larger one is worth more than a document that comes sooner.
GATHER_S, ROUNDS = 0.05, 2
# How long who has got nothing stays.
STAY_S = 0.1
# How fast what is measured is forgotten: between an answer and the next question, and of rounds.
SMOOTHING = 0.1


class Later:
    """Instead of an answer: it is asked again in the next round."""


LATER = Later()


class _Waiter(Generic[Q, A]):
    """A thread that asks. Its gate opens when it has an answer, or is to lead the next round."""

    def __init__(self, question: Q, asked: float) -> None:
        self.question = question
        self.asked = asked
        self.answer: A | None = None
        self.is_answered = False
        self.stays = False
        self.error: BaseException | None = None
        self.gate = threading.Lock()
        self.gate.acquire()


class Combiner(Generic[Q, A]):
    """`work` answers questions in their order, the first of them at least. Thread-safe.

    What it leaves for LATER is asked again in the next round. None is the answer that there is
    nothing now. `threads` may ask at the same time.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Q]], Sequence[A | Later | None]],
        *,
        threads: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work = work
        self._threads = threads
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: list[_Waiter[Q, A]] = []
        self._is_led = False
        self._taking_part = 0
        self._is_full = threading.Event()
        self._has_left = False
        # Until they are measured, nobody is kept waiting.
        self._busy_s = threads / RATE_PER_S
        self._round_s = 0.0
        self._local = threading.local()

    @contextmanager
    def taking_part(self) -> Iterator[None]:
        """For the block this thread asks, again and again: a round may wait for it."""
        self._local.answered = None
        with self._lock:
            self._taking_part += 1
        try:
            yield
        finally:
            with self._lock:
                self._taking_part -= 1
                self._see_whether_full()

    def ask(self, question: Q) -> A | None:
        """The answer; what `work` raises, for everybody who asked in that round."""
        waiter: _Waiter[Q, A] = _Waiter(question, self._clock())
        with self._lock:
            self._measure(waiter.asked)
            self._waiting.append(waiter)
            leads, self._is_led = not self._is_led, True
            self._see_whether_full()
        while True:
            if not leads:
                waiter.gate.acquire()
            if waiter.is_answered:
                break
            leads = False
            self._lead()
        self._local.answered = self._clock()
        if waiter.error is not None:
            raise waiter.error
        return waiter.answer

    def _measure(self, asked: float) -> None:
        answered = getattr(self._local, "answered", None)
        if answered is not None:
            self._busy_s += SMOOTHING * (asked - answered - self._busy_s)

    @property
    def _spare_s(self) -> float:
        """How long a thread can do nothing; not above 0 while all are needed."""
        return min(self._threads, self._taking_part) / RATE_PER_S - self._busy_s

    def _is_everybody(self) -> bool:
        """Whether all who take part wait, and not only for something to come."""
        is_fresh = any(not each.stays for each in self._waiting)
        return is_fresh and len(self._waiting) >= min(self._taking_part, MOST)

    def _see_whether_full(self) -> None:
        if self._is_everybody():
            self._is_full.set()

    def _gather(self) -> None:
        """Waits for others who are about to ask, if there are threads in plenty."""
        spare_s = min(GATHER_S, ROUNDS * self._round_s, self._spare_s)
        if spare_s <= 0 or self._has_left:
            return
        with self._lock:
            if self._is_everybody():
                return
            self._is_full.clear()
        self._is_full.wait(spare_s)

    def _lead(self) -> None:
        """One round, with whoever leads as its first; then the next who waits is to lead."""
        self._gather()
        with self._lock:
            round_, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        for each in round_:
            each.stays = False
        begun = self._clock()
        try:
            answers = self._work([each.question for each in round_])
            for each, answer in zip(round_, answers, strict=True):
                if isinstance(answer, Later):
                    continue
                each.answer = answer
                each.stays = answer is None and self._may_stay(each)
                each.is_answered = not each.stays
        except BaseException as error:  # noqa: BLE001 - each of them raises it
            for each in round_:
                each.error, each.is_answered, each.stays = error, True, False
        self._round_s += SMOOTHING * (self._clock() - begun - self._round_s)
        answered = [each for each in round_ if each.is_answered]
        staying = [each for each in round_ if each.stays and not each.is_answered]
        left = [each for each in round_ if not (each.stays or each.is_answered)]
        with self._lock:
            self._waiting[:0] = left
            self._waiting += staying
            self._has_left = bool(left)
            successor = self._waiting[0] if self._waiting else None
            self._is_led = successor is not None
        for each in answered:
            each.gate.release()
        if successor is not None:
            successor.gate.release()

    def _may_stay(self, waiter: _Waiter[Q, A]) -> bool:
        return self._spare_s >= GATHER_S and self._clock() - waiter.asked < STAY_S
