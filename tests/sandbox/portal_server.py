"""The HTTP side of the sandbox portal: it parses and logs requests, and sends decided answers."""

from __future__ import annotations

import time
from dataclasses import replace

from tests.sandbox import replies
from tests.sandbox.admission import Visit
from tests.sandbox.control import control
from tests.sandbox.gates import stopping
from tests.sandbox.latency_profile import Burst
from tests.sandbox.portal_state import PortalState
from tests.sandbox.replies import Reply
from tests.sandbox.request_log import PortalRequest
from tests.sandbox.routes import Route, route_of
from tests.sandbox.serving import Handler, Server


class PortalServer(Server):
    def __init__(self, port: int, portal: PortalState, host: str = "127.0.0.1") -> None:
        super().__init__(port, PortalHandler, host)
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
        if not route.is_api:
            self.send_reply(self._decided(route))
            return
        with portal.traffic.visit(route) as visit:
            if route.kind != "file":
                reply = self._met(visit, route)
                self.send_reply(reply, before_end=lambda: portal.traffic.over(visit))
            else:
                self._answer_file(visit, route)

    def _answer_file(self, visit: Visit, route: Route) -> None:
        portal = self.server.portal
        port = int(self.client_address[1])
        with portal.journal.in_flight(route.number or "", route.uuid or "", port) as landed:

            def before_end() -> None:
                landed()
                portal.traffic.over(visit)

            self.send_reply(self._met(visit, route), before_end=before_end)

    def _met(self, visit: Visit, route: Route) -> Reply:
        """Return the reply to a visit: above the limit, in a burst, or the decided one."""
        portal = self.server.portal
        if not visit.is_admitted:
            reply = portal.traffic.refusal(visit)
            self._note(route, reply.status)
        elif met := portal.weather.burst(visit.court):
            reply = self._struck(route, *met)
        else:
            reply = self._gated(route, self._decided(route, portal.weather.draw_s(visit.court)))
        visit.status = reply.status
        return reply

    def _struck(self, route: Route, burst: Burst, left_s: float) -> Reply:
        self._note(route, burst.status or 0)
        if burst.status is None:
            self.wait(left_s)
            raise ConnectionAbortedError
        return burst.reply()

    def _decided(self, route: Route, more_s: float = 0.0) -> Reply:
        """Return the reply after its latency and `more_s` seconds, and log the request."""
        agent = self.headers.get("User-Agent", "")
        authorization = self.headers.get("Authorization", "")
        reply, latency_s = replies.NOT_ALLOWED, 0.0
        if self.command == "GET":
            # To a client it is another host, but it is this server: a request to it would be in the
            # log.
            foreign_origin = f"http://localhost:{self.server.port}"
            reply, latency_s = self.server.portal.answer(
                route, agent, authorization, foreign_origin
            )
        self._note(route, reply.status)
        if latency_s + more_s:
            self.wait(latency_s + more_s)
        return reply

    def _note(self, route: Route, status: int) -> None:
        """Log the request before its answer: a request that hangs was received all the same."""
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
        """Return the reply once the case's gate opens, or with a stop at the gate inside."""
        gates = self.server.portal.gates
        gate = gates.at(route.number or "") if route.kind == "file" else None
        if gate is None:
            return reply

        def stop() -> None:
            self.wfile.flush()
            gates.wait(gate)
            # A portal that stops opens its gates, and sends nothing that looks like an answer.
            self.pause(0)

        if gate.after_bytes is None:
            stop()
            return reply
        return replace(reply, body=stopping(reply.body, gate.after_bytes, stop))
