"""A webhook receiver that verifies what it gets, and misbehaves on demand.

By hand: `python -m tests.sandbox.receivers.webhook_receiver --port 8090 --secret whsec_...`. In
tests:
`with WebhookReceiver(secret=...) as receiver`.
"""

from __future__ import annotations

import argparse
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from standardwebhooks import Webhook

from tests.sandbox.receivers.deliveries import Delivery, delivery_of
from tests.sandbox.replies import Reply
from tests.sandbox.serving import Handler, Server, wait_for_a_signal

DEFAULT_PATH = "/hook"
FLOOD_BYTES = 100_000_000

Behaviour = Literal["answer", "hang", "drip", "flood", "close"]


@dataclass
class _Script:
    """An answer for the next `left` requests; None: for all of them."""

    behaviour: Behaviour
    reply: Reply
    left: int | None


@dataclass
class _Inbox:
    changed: threading.Condition = field(default_factory=threading.Condition)
    deliveries: list[Delivery] = field(default_factory=list)
    scripts: dict[str, deque[_Script]] = field(default_factory=dict)


class WebhookReceiver:
    """Accepts requests on every path, and answers 204 unless `answer` has set another answer."""

    def __init__(
        self,
        port: int = 0,
        secret: str | None = None,
        on_delivery: Callable[[Delivery], None] | None = None,
    ) -> None:
        self._port = port
        self._webhook = Webhook(secret) if secret else None
        self._on_delivery = on_delivery
        self._inbox = _Inbox()

    def __enter__(self) -> Self:
        self._server = _ReceiverServer(self._port, self).__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__(None, None, None)

    @property
    def url(self) -> str:
        return self.url_of(DEFAULT_PATH)

    def url_of(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.port}{path}"

    @property
    def deliveries(self) -> list[Delivery]:
        return self.deliveries_at(None)

    def deliveries_at(self, path: str | None) -> list[Delivery]:
        """Return the requests to the path, or, without one, all requests, in order of arrival."""
        with self._inbox.changed:
            return [each for each in self._inbox.deliveries if path in (None, each.path)]

    def wait_for(self, count: int, timeout_s: float, path: str | None = None) -> list[Delivery]:
        """Return the deliveries once there are `count` of them; TimeoutError otherwise."""

        def arrived() -> bool:
            return len(self.deliveries_at(path)) >= count

        with self._inbox.changed:
            if not self._inbox.changed.wait_for(arrived, timeout_s):
                got = len(self.deliveries_at(path))
                raise TimeoutError(f"{got} of {count} deliveries after {timeout_s} s")
            return self.deliveries_at(path)

    def answer(
        self,
        *,
        status: int = 204,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        times: int | None = 1,
        path: str = DEFAULT_PATH,
        behaviour: Behaviour = "answer",
    ) -> None:
        """Script the next answers of a path, after those scripted before; `times` None: for ever.

        hang: never answers. drip: one byte each half second for ever. flood: a body of 100 MB.
        close: cuts the connection without an answer.
        """
        reply = Reply(status, (body,), headers or {}, len(body))
        with self._inbox.changed:
            scripts = self._inbox.scripts.setdefault(path, deque())
            scripts.append(_Script(behaviour, reply, times))

    def take(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> _Script:
        """Record a request and return its answer."""
        delivery = delivery_of(self._webhook, method, path, headers, body)
        if self._on_delivery:
            self._on_delivery(delivery)
        with self._inbox.changed:
            self._inbox.deliveries.append(delivery)
            self._inbox.changed.notify_all()
            scripts = self._inbox.scripts.get(path)
            if not scripts:
                return _Script("answer", Reply(204), None)
            script = scripts[0]
            if script.left is not None:
                script.left -= 1
                if script.left <= 0:
                    scripts.popleft()
            return script


class _ReceiverServer(Server):
    def __init__(self, port: int, receiver: WebhookReceiver) -> None:
        super().__init__(port, _ReceiverHandler)
        self.receiver = receiver


class _ReceiverHandler(Handler):
    server: _ReceiverServer

    def answer(self) -> None:
        body = self.read_body()
        headers = dict(self.headers.items())
        script = self.server.receiver.take(self.command, self.path, headers, body)
        if script.behaviour == "hang":
            self.server.closing.wait()
        if script.behaviour in ("hang", "close"):
            self.close_connection = True
        elif script.behaviour == "drip":
            self.send_reply(Reply(200, itertools.repeat(b"."), is_chunked=True, pause_s=0.5))
        elif script.behaviour == "flood":
            self.send_reply(Reply(200, _flood(), length=FLOOD_BYTES))
        else:
            self.send_reply(script.reply)


def _flood() -> Iterator[bytes]:
    return itertools.repeat(bytes(50_000), FLOOD_BYTES // 50_000)


def _print_delivery(delivery: Delivery) -> None:
    kind = delivery.payload.get("type") if isinstance(delivery.payload, dict) else None
    verdict = "verified" if delivery.is_verified else "NOT verified"
    print(f"{delivery.method} {delivery.path} {kind} {delivery.webhook_id} {verdict}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="A webhook receiver on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--secret", help="whsec_...; without it nothing is verified")
    arguments = parser.parse_args()
    with WebhookReceiver(arguments.port, arguments.secret, _print_delivery) as receiver:
        print(f"webhook receiver on {receiver.url}", flush=True)
        wait_for_a_signal()


if __name__ == "__main__":
    main()
