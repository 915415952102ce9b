"""The HTTP side of the sandbox login: it parses a form and sends the decided answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

from tests.sandbox import replies
from tests.sandbox.replies import Reply, as_json
from tests.sandbox.serving import Handler, Server


class LoginServer(Server):
    """`decide` returns the answer to a form, and may block until it is to be sent."""

    def __init__(self, port: int, decide: Callable[[Mapping[str, str]], Reply]) -> None:
        super().__init__(port, LoginHandler)
        self.decide = decide


class LoginHandler(Handler):
    server: LoginServer

    def answer(self) -> None:
        body = self.read_body()
        if not self.path.endswith("/openid-connect/token"):
            self.send_reply(replies.WRONG_ROUTE)
            return
        media_type = self.headers.get("Content-Type", "")
        if self.command != "POST" or media_type != "application/x-www-form-urlencoded":
            self.send_reply(as_json(415, {"error": "a form is wanted"}))
            return
        form = {name: values[-1] for name, values in parse_qs(body.decode()).items()}
        reply = self.server.decide(form)
        # A login server that stops sends nothing that looks like an answer.
        self.pause(0)
        self.send_reply(reply)
