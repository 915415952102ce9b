"""Structured logs: JSON for machines, coloured lines for people; one configuration per process.

An outage of a dependency is logged once per operation and code, until the operation succeeds again.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

import structlog

from storage.errors import ServiceRefused, ServiceUnavailable


def configure(log_format: str | None, *, process: str) -> None:
    """Send every log line to stderr, as "json" or "text", also the lines of libraries.

    None: text on a terminal, JSON otherwise. An exception that ends the process or a thread is also
    logged as a line.
    """
    log_format = log_format or ("text" if sys.stderr.isatty() else "json")
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        _named(process),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # The richer formatter prints local variables, and with them secrets.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    last: list[structlog.types.Processor] = [renderer]
    if log_format == "json":
        last.insert(0, structlog.processors.format_exc_info)
    # Directly to stderr: through the standard library a line costs twice as much.
    structlog.configure(
        processors=[*shared, *last],
        logger_factory=lambda *_: _Stderr(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_is_fit_to_show)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # Their lines about each connection add nothing, and could contain URLs.
    for noisy in ("urllib3", "requests", "dramatiq", "peewee"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda args: _log_uncaught(
        args.exc_type, args.exc_value, args.exc_traceback
    )


class _Held(threading.local):
    """The lines of the current `together` block of a thread."""

    lines: list[str] | None = None


_held = _Held()
_writing = threading.Lock()
# The size that a pipe writes atomically: lines of several processes do not mix.
PIECE_BYTES = 4096


@contextmanager
def together() -> Iterator[None]:
    """Write this thread's lines at the end of the block, in as few writes as possible.

    In each write a thread releases the interpreter's lock and waits until it has it again. The
    block must not do slow work. Lines of libraries are not delayed.
    """
    if _held.lines is not None:
        yield
        return
    _held.lines = []
    try:
        yield
    finally:
        lines, _held.lines = _held.lines, None
        for piece in _pieces(lines):
            _write(piece)


def _pieces(lines: Iterable[str]) -> Iterator[str]:
    """Yield whole lines, joined as long as they fit into one write."""
    piece: list[str] = []
    size = 0
    for line in lines:
        length = len(line.encode(errors="backslashreplace"))
        if piece and size + length > PIECE_BYTES:
            yield "".join(piece)
            piece, size = [], 0
        piece.append(line)
        size += length
    if piece:
        yield "".join(piece)


def _write(text: str) -> None:
    """Write a text. A failed write must not interrupt the work that is logged."""
    with suppress(OSError, ValueError), _writing:
        sys.stderr.write(text)
        sys.stderr.flush()


class _Stderr:
    """Take lines, with the interface of structlog's loggers."""

    def msg(self, message: str) -> None:
        """Write a line, or keep it for the end of the block of `together`."""
        line = message + "\n"
        if _held.lines is None:
            _write(line)
        else:
            _held.lines.append(line)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


def _is_fit_to_show(record: logging.LogRecord) -> bool:
    """Return False for lines of libraries that must not be logged.

    gRPC's line about metadata that is not UTF-8 may contain a token. Dramatiq repeats every few
    seconds, for each queue, that it is not connected; the broker of Autos logs an outage once.
    """
    text = str(record.msg)
    if record.name == "grpc._cython.cygrpc":
        return "Invalid encoding" not in text
    return not (record.name.startswith("dramatiq.") and "a connection error:" in text)


def _named(process: str) -> structlog.types.Processor:
    """Add the process's name to every line; a context variable would do so in one thread only."""

    def name(
        _logger: structlog.types.WrappedLogger, _method: str, event: structlog.types.EventDict
    ) -> structlog.types.EventDict:
        event["process"] = process
        return event

    return name


def _log_uncaught(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    if error is None or not issubclass(kind, Exception):
        return
    structlog.get_logger().critical("uncaught", exc_info=(kind, error, trace))


log: structlog.stdlib.BoundLogger = structlog.get_logger()

# The most characters of a text from another program.
ANSWER_CAP = 300


class OutageLog:
    """The last failure of each operation of `part`. Thread-safe.

    Two threads that fail at the same time may both log it. `clock`: monotonic seconds.
    """

    def __init__(self, part: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._part = part
        self._clock = clock
        # By operation and subject: the kind of failure, its code, and when it occurred last.
        self._failing: dict[tuple[str, str], tuple[type[ServiceUnavailable], str]] = {}
        self._failed_at: dict[tuple[str, str], float] = {}

    def failed(self, operation: str, error: ServiceUnavailable, subject: str = "") -> None:
        """Log a failure unless it was logged already.

        Failures of an operation with different subjects are logged apart.
        """
        what, key = (type(error), error.code), (operation, subject)
        self._failed_at[key] = self._clock()
        if self._failing.get(key) == what:
            return
        self._failing[key] = what
        log.warning(
            "part refuses" if isinstance(error, ServiceRefused) else "part is unavailable",
            part=self._part,
            operation=operation,
            code=error.code,
            answer=error.answer[:ANSWER_CAP],
        )

    def succeeded(self, operation: str) -> None:
        """Log that an operation that failed succeeds again. Otherwise costs almost nothing."""
        if self._failing and (operation, "") in self._failing:
            self._end((operation, ""))

    def end_quiet(self, quiet_s: float) -> None:
        """Log the end of each failure that has not occurred for `quiet_s` seconds."""
        if self._failing:
            now = self._clock()
            for key, failed_at in list(self._failed_at.items()):
                if now - failed_at > quiet_s:
                    self._end(key)

    def _end(self, key: tuple[str, str]) -> None:
        self._failed_at.pop(key, None)
        if self._failing.pop(key, None):
            log.info("part answers again", part=self._part, operation=key[0])
