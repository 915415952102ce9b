"""The HTTP side of the sandbox portal: reads a request, notes it, and sends what was decided."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.sandbox import replies
from tests.sandbox.control import control
from tests.sandbox.gates import stopping
from tests.sandbox.journal import PortalRequest
from tests.sandbox.replies import Reply
from tests.sandbox.routes import Route, route_of
from tests.sandbox.serving import Handler, Server

if TYPE_CHECKING:
    from tests.sandbox.portal import SandboxPortal


class PortalServer(Server):
    def __init__(self, port: int, portal: SandboxPortal) -> None:
        super().__init__(port, PortalHandler)
        self.portal = portal


class PortalHandler(Handler):
    server: PortalServer

    def answer(self) -> None:
        portal = self.server.portal
        body = self.read_body()
        route = route_of(self.path)
        if route.kind == "control":
            self._note(route, 200)
            self.send_reply(control(portal, self.command, self.path, body))
            return
        if route.kind != "file":
            self.send_reply(self._decided(route))
            return
        port = int(self.client_address[1])
        with portal.journal.in_flight(route.number or "", route.uuid or "", port) as landed:
            self.send_reply(self._gated(route, self._decided(route)), before_end=landed)

    def _decided(self, route: Route) -> Reply:
        """The reply, noted, and after its latency."""
        agent = self.headers.get("User-Agent", "")
        authorization = self.headers.get("Authorization", "")
        reply, latency_s = replies.NOT_ALLOWED, 0.0
        if self.command == "GET":
            reply, latency_s = self.server.portal.answer(route, agent, authorization)
        self._note(route, reply.status)
        if latency_s:
            self.pause(latency_s)
        return reply

    def _note(self, route: Route, status: int) -> None:
        """Noted before it is sent: a request that hangs has been asked all the same."""
        self.server.portal.journal.add(
            PortalRequest(
                time=time.time(),
                method=self.command,
                path=self.path,
                status=status,
                user_agent=self.headers.get("User-Agent", ""),
                kind=route.kind,
                number=route.number,
                uuid=route.uuid,
            )
        )

    def _gated(self, route: Route, reply: Reply) -> Reply:
        """The reply, once the case's gate lets it begin, or with a stop at the gate inside."""
        gates = self.server.portal.gates
        gate = gates.at(route.number or "") if route.kind == "file" else None
        if gate is None:
            return reply

        def stop() -> None:
            self.wfile.flush()
            gates.wait(gate)
            # A portal that ends opens its gates: nothing is sent then that looks like an answer.
            self.pause(0)

        if gate.after_bytes is None:
            stop()
            return reply
        return replace(reply, body=stopping(reply.body, gate.after_bytes, stop))
