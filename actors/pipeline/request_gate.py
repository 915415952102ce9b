"""Whether the next request of a slice may begin, by the newest state in this process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from time import monotonic
from uuid import UUID

from storage.errors import AttemptError, TooFast
from storage.portal.slots import PORTAL, court_of

# Seconds after which a wait for the reserved time checks again.
STEP_S = 0.05
# Seconds after which a halt is forgotten: every slice claimed before it has begun its requests.
KEPT_S = 60.0


class RequestGate:
    """Pauses, open circuit breakers and cancelled jobs, for the slices of this process.
    Thread-safe.

    They come from its own answers and from hints of other processes. The rows decide when a slice
    may begin. The gate stops the further requests of slices that were claimed before.
    `is_stopping`: whether the process ends. `publish`: halts a scope in the other processes.
    """

    def __init__(self, is_stopping: Callable[[], bool], publish: Callable[[str], None]) -> None:
        self._is_stopping = is_stopping
        self._publish = publish
        self._lock = threading.Lock()
        # By scope, the oldest first.
        self._halted_at: OrderedDict[str, float] = OrderedDict()

    def close(self, process_number: str, error: AttemptError, client: str | None) -> None:
        """Stop the further requests of claimed slices in all processes.

        The scope is the whole portal if the error is TooFast, else the court of this case; with a
        `client`, the same for the slices of this client. Call this after the COMMIT of the pause or
        the breaker.
        """
        scope = PORTAL if isinstance(error, TooFast) else court_of(process_number)
        if client is not None:
            scope = _of_client(client, scope)
        self.halt(scope)
        self._publish(scope)

    def halt(self, scope: str) -> None:
        """Stop the further requests of slices that this process has claimed.

        `scope`: a job's id, a court, or PORTAL for the whole portal; or one of a client.
        """
        now = monotonic()
        with self._lock:
            self._halted_at[scope] = now
            self._halted_at.move_to_end(scope)
            while now - next(iter(self._halted_at.values())) > KEPT_S:
                self._halted_at.popitem(last=False)

    def await_begin(
        self, job_id: UUID, client: str, process_number: str, begins_at: float, claimed_at: float
    ) -> bool:
        """Wait until `begins_at`. Return whether a request of a client's job may begin then.

        `claimed_at`: when the claim of its slice was sent. Both are monotonic seconds.
        """
        while (wait_s := begins_at - monotonic()) > 0:
            if self._is_stopping():
                return False
            threading.Event().wait(min(STEP_S, wait_s))
        court = court_of(process_number)
        of_client = (_of_client(client, PORTAL), _of_client(client, court))
        scopes = (PORTAL, court, str(job_id), *of_client)
        return not self._is_stopping() and not self._is_halted(scopes, claimed_at)

    def _is_halted(self, scopes: Iterable[str], claimed_at: float) -> bool:
        with self._lock:
            return any(self._halted_at.get(scope, 0.0) > claimed_at for scope in scopes)


def _of_client(client: str, scope: str) -> str:
    """Return the scope of one client at a court or at the portal."""
    return f"{client} {scope}"
