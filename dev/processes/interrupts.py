"""Stop signals such as Ctrl-C: the first one raises KeyboardInterrupt, later ones do nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def raise_at_stop_signals(before: Callable[[], None] = lambda: None) -> None:
    """Make the first stop signal call `before` and raise KeyboardInterrupt with its number."""

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        pass_over_stop_signals()
        before()
        raise KeyboardInterrupt(number)

    for number in STOP_SIGNALS:
        signal.signal(number, stop)


def pass_over_stop_signals() -> None:
    """Ignore stop signals from now on, so that the shutdown is not interrupted."""
    for number in STOP_SIGNALS:
        # Child processes would inherit SIG_IGN, so an empty handler is set.
        signal.signal(number, lambda *_: None)
