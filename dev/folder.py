"""The data folder: it has one owner at a time, a version, private secrets and stable ports.

run.json in it has the address and settings of `make run`, for `make demo`, and no secret.
"""

from __future__ import annotations

import json
import os
import random
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from dev.processes.process import lock_file
from storage.errors import ConfigurationError

LAYOUT_VERSION = "1"
# Below the ephemeral ports; SeaweedFS also takes each port + 10,000.
PORTS = range(12_000, 22_700)
WEED_OFFSET = 10_000


class DataFolder:
    """DATA_DIR, owned by this process until `close`.

    The kernel releases the lock when the process ends, also after kill -9.
    """

    def __init__(self, path: Path) -> None:
        """Lock the folder; create it if missing.

        Raises ConfigurationError if it has another version or another owner.
        """
        self.path = path.absolute()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock: int | None = self._take_lock()
        except OSError as error:
            raise ConfigurationError(
                f"DATA_DIR: {self.path} cannot be used: {error.strerror}; choose another folder."
            ) from error
        try:
            self._check_version()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None

    def subfolder(self, name: str) -> Path:
        """Return a subfolder that only this user may enter; create it if missing."""
        folder = self.path / name
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        return folder

    def secret(self, name: str, make: Callable[[], str]) -> str:
        """Return the secret `name`. The first call makes it; a file of mode 0600 keeps it."""
        file = secret_file(self.path, name)
        if file.exists():
            return file.read_text().strip()
        self.subfolder(file.parent.name)
        value = make()
        write_private(file, value + "\n")
        return value

    def ports(self, group: str, names: tuple[str, ...]) -> Mapping[str, int]:
        """Return a free loopback port for each name; the previous ones if they are still free.

        Port + 10,000 is free as well.
        """
        file = self.subfolder("ports") / f"{group}.json"
        ports: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
        if ports.keys() == set(names) and all(map(_is_usable, ports.values())):
            return ports
        ports = {}
        for name in names:
            candidates = iter(lambda: random.choice(PORTS), None)
            ports[name] = next(
                port for port in candidates if port not in ports.values() and _is_usable(port)
            )
        write_private(file, json.dumps(ports))
        return ports

    def _take_lock(self) -> int:
        file = self.path / "lock"
        lock = lock_file(file)
        if lock is None:
            owner = file.read_text().strip() or "unknown"
            raise ConfigurationError(
                f"DATA_DIR: {self.path} is in use by process {owner}; "
                "stop that one or set DATA_DIR to another folder."
            )
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        return lock

    def _check_version(self) -> None:
        file = self.path / "version"
        if not file.exists():
            write_private(file, LAYOUT_VERSION + "\n")
        elif (version := file.read_text().strip()) != LAYOUT_VERSION:
            raise ConfigurationError(
                f"DATA_DIR: {self.path} is of version {version}, this Autos needs version "
                f"{LAYOUT_VERSION}; move the folder away or set DATA_DIR to another one."
            )


def secret_file(data_dir: Path, name: str) -> Path:
    """Return the path at which `DataFolder.secret` keeps `name`."""
    return data_dir / "secrets" / name


def owner_of(data_dir: Path) -> str | None:
    """Return the process id of the folder's owner ("" until it is written); None without owner."""
    try:
        descriptor = lock_file(data_dir / "lock")
    except OSError:  # the folder is missing or inaccessible
        return None
    if descriptor is None:
        return (data_dir / "lock").read_text().strip()
    os.close(descriptor)
    return None


def write_private(file: Path, text: str) -> None:
    """Write a file that only this user may read, atomically."""
    new = file.with_name(file.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    new.replace(file)


def is_free(host: str, port: int) -> bool:
    """Return True if a server could listen on this address."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError:
            return False
    return True


def _is_usable(port: int) -> bool:
    return is_free("127.0.0.1", port) and is_free("127.0.0.1", port + WEED_OFFSET)


@dataclass(frozen=True)
class RunFile:
    """The content of run.json.

    `address`: host:port of the gRPC server. `receiver_port`: the port to which webhooks may be
    sent. `clients_file`: the file of the known clients; None if no authentication is required.
    """

    address: str
    pid: int
    is_sandbox: bool
    portal_url: str | None
    receiver_port: int | None
    clients_file: str | None = None
    is_tls: bool = False

    @property
    def grpcurl_flag(self) -> str:
        """Return grpcurl's flag for the connection."""
        return "-cacert CA.pem" if self.is_tls else "-plaintext"


@contextmanager
def written_run_file(data_dir: Path, content: RunFile) -> Iterator[None]:
    """Write the file, and remove it when the context is left."""
    file = _path(data_dir)
    write_private(file, json.dumps(asdict(content), indent=2) + "\n")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def read_run_file(data_dir: Path) -> RunFile | None:
    """Return the run file in `data_dir`; None if there is none.

    A killed `make run` leaves its file behind, so the caller must compare `pid` with the folder's
    owner.
    """
    try:
        return RunFile(**json.loads(_path(data_dir).read_text()))
    except (FileNotFoundError, ValueError, TypeError):  # missing, or of another version
        return None


def _path(data_dir: Path) -> Path:
    return data_dir / "run.json"
