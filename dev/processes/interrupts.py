"""What Ctrl-C and its like do: the first one raises KeyboardInterrupt, those after it nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def raise_at_stop_signals(before: Callable[[], None] = lambda: None) -> None:
    """Let the first stop signal call `before` and raise KeyboardInterrupt with its number."""

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        pass_over_stop_signals()
        before()
        raise KeyboardInterrupt(number)

    for number in STOP_SIGNALS:
        signal.signal(number, stop)


def pass_over_stop_signals() -> None:
    """From here on they do nothing: what is being stopped is stopped in order."""
    for number in STOP_SIGNALS:
        # Not SIG_IGN: programs that are started would inherit that.
        signal.signal(number, lambda *_: None)
