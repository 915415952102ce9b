"""Test the embedded servers: real, private, stopped with their owner, and durable."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import psutil  # type: ignore[import-untyped]
import psycopg2
import pytest
import redis
import urllib3
from minio import Minio
from minio.error import S3Error
from redis.backoff import NoBackoff
from redis.retry import Retry

from dev.embedded.embedded_servers import EmbeddedServers, start_all
from dev.embedded.sandbox import ROOT
from dev.folder import WEED_OFFSET, DataFolder
from dev.processes.deadline import until
from storage.errors import ConfigurationError

# Owns the servers of a folder until it is killed.
OWNER = """
import sys, time
from pathlib import Path
from dev.folder import WEED_OFFSET, DataFolder
from dev.embedded.embedded_servers import start_all

servers = start_all(DataFolder(Path(sys.argv[1])), {})
print("ready", flush=True)
time.sleep(1000)
"""
NAMES = ("postgres", "valkey", "s3")
ONLY_POSTGRES = {"REDIS_URL": "redis://x", "S3_ENDPOINT_URL": "http://s3"}
ONLY_S3 = {"DATABASE_URL": "postgresql://db/autos", "REDIS_URL": "redis://x"}


@contextmanager
def serving(path: Path, configured: Mapping[str, str] | None = None) -> Iterator[EmbeddedServers]:
    with ExitStack() as exit_stack:
        folder = DataFolder(path)
        exit_stack.callback(folder.close)
        servers = start_all(folder, configured or {})
        exit_stack.callback(servers.stop)
        yield servers


@contextmanager
def owner_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", OWNER, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        try:
            assert owner.stdout is not None
            assert owner.stdout.readline() == "ready\n"
            yield owner
        finally:
            owner.kill()


@contextmanager
def s3_client(env: Mapping[str, str]) -> Iterator[Minio]:
    with urllib3.PoolManager(retries=False, timeout=10.0) as pool:
        yield Minio(
            env["S3_ENDPOINT_URL"].removeprefix("http://"),
            access_key=env["S3_ACCESS_KEY_ID"],
            secret_key=env["S3_SECRET_ACCESS_KEY"],
            region=env["S3_REGION"],
            secure=False,
            http_client=pool,
        )


def folder_of(servers: EmbeddedServers) -> Path:
    sockets = psycopg2.extensions.parse_dsn(servers.env["DATABASE_URL"])["host"]
    return Path(sockets).parent


def query(env: Mapping[str, str], statement: str) -> list[tuple[object, ...]]:
    with (
        closing(psycopg2.connect(env["DATABASE_URL"])) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
        connection.commit()
        return cursor.fetchall() if cursor.description else []


def keep_something(env: Mapping[str, str]) -> None:
    query(env, "CREATE TABLE kept AS SELECT 42 AS answer")
    with redis.Redis.from_url(env["REDIS_URL"]) as client:
        client.set("kept", "42")
        # Durable now, not within the second that appendfsync allows.
        client.waitaof(1, 0, 5_000)
    with s3_client(env) as s3:
        s3.make_bucket("kept")
        s3.put_object("kept", "answer", io.BytesIO(b"42"), 2)


def assert_kept(env: Mapping[str, str]) -> None:
    assert query(env, "SELECT answer FROM kept") == [(42,)]
    with redis.Redis.from_url(env["REDIS_URL"]) as client:
        assert client.get("kept") == b"42"
    with s3_client(env) as s3, s3.get_object("kept", "answer") as answer:
        assert answer.read() == b"42"


def processes_below(pid: int) -> list[psutil.Process]:
    children: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    return children


def is_gone(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_data_is_there_after_a_restart(tmp_path: Path) -> None:
    with serving(tmp_path / "var") as servers:
        keep_something(servers.env)
        first = servers.env

    with serving(tmp_path / "var") as servers:
        assert servers.env == first
        assert_kept(servers.env)


def test_servers_go_with_a_killed_owner_and_the_next_owner_finds_the_data(tmp_path: Path) -> None:
    with owner_process(tmp_path / "var") as owner:
        children = processes_below(owner.pid)
        assert len(children) > len(NAMES)
        with (tmp_path / "var" / "lock").open() as lock:
            assert int(lock.read()) == owner.pid
        owner.kill()

    with serving(tmp_path / "var") as servers:
        until(lambda: all(map(is_gone, children)), 60.0, f"still there: {children}")
        keep_something(servers.env)


def test_killed_server_is_back_with_its_data(tmp_path: Path) -> None:
    with serving(tmp_path / "var") as servers:
        keep_something(servers.env)
        for name in NAMES:
            pid = servers.supervisor.pid_of(name)
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            until(lambda: servers.supervisor.pid_of(name) not in (pid, None), 60.0, name)  # noqa: B023
        servers.await_ready()

        assert_kept(servers.env)


def test_stop_leaves_no_process_and_no_socket(tmp_path: Path) -> None:
    # A server that was killed on this machine earlier may have left files of the same names.
    old = set(Path("/tmp").glob("seaweedfs-*.sock"))
    with serving(tmp_path / "var") as servers:
        processes = processes_below(os.getpid())
        pids = {process.pid for process in processes}
        assert {servers.supervisor.pid_of(name) for name in NAMES} <= pids
        ports = listening_ports(servers.supervisor.pid_of("s3"))
        found = set(Path("/tmp").glob("seaweedfs-*.sock")) - old
        sockets = [file for file in found if port_in(file) in ports]
        assert sockets
        mine = [p for p in processes if str(tmp_path) in command_of(p)]

    assert mine
    assert all(map(is_gone, mine))
    assert not [file for file in sockets if file.exists()]


def command_of(process: psutil.Process) -> str:
    """Return a process's command line; empty for an ended one, as PostgreSQL's workers may be."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def port_in(socket_file: Path) -> int:
    return int(socket_file.stem.rpartition("-")[2])


def test_second_owner_is_refused_in_one_sentence(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "var")
    with closing(folder), pytest.raises(ConfigurationError) as refused:
        DataFolder(tmp_path / "var")

    assert str(refused.value) == (
        f"DATA_DIR: {tmp_path / 'var'} is in use by process {os.getpid()}; "
        "stop that one or set DATA_DIR to another folder."
    )


def test_folder_of_another_version_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "version").write_text("2\n")

    with pytest.raises(ConfigurationError, match="is of version 2, this Autos needs version 1;"):
        DataFolder(tmp_path)


def test_cluster_of_another_postgres_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("17\n")

    folder = DataFolder(tmp_path)
    with closing(folder), pytest.raises(ConfigurationError, match="of PostgreSQL version 17, this"):
        start_all(folder, {})


def test_what_is_configured_is_not_started(tmp_path: Path) -> None:
    configured = {"DATABASE_URL": "postgresql://db/autos", "S3_ENDPOINT_URL": "http://s3"}

    with serving(tmp_path / "var", configured) as servers:
        assert set(servers.env) == {"REDIS_URL"}
        assert servers.supervisor.names == ["valkey"]


def test_long_folder_name_still_gets_a_socket_and_leaves_none(tmp_path: Path) -> None:
    path = tmp_path / ("a long name " * 10)

    with serving(path, ONLY_POSTGRES) as servers:
        sockets = (path / "socket").readlink()
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert query(servers.env, "SELECT 1") == [(1,)]

    assert not sockets.exists()


def test_stale_postmaster_pid_of_a_living_process_does_not_hinder(tmp_path: Path) -> None:
    with serving(tmp_path / "var", ONLY_POSTGRES):
        pass
    pid_file = tmp_path / "var" / "postgres" / "postmaster.pid"
    pid_file.write_text(f"{os.getppid()}\n{pid_file.parent}\n1\n5432\n\n\n0 0\nready\n")

    with serving(tmp_path / "var", ONLY_POSTGRES) as servers:
        assert query(servers.env, "SELECT 1") == [(1,)]


def test_database_is_durable_and_has_room_for_connections(tmp_path: Path) -> None:
    with serving(tmp_path / "var", ONLY_POSTGRES) as servers:
        assert query(servers.env, "SHOW fsync") == [("on",)]
        assert query(servers.env, "SHOW full_page_writes") == [("on",)]
        assert query(servers.env, "SHOW synchronous_commit") == [("on",)]
        assert query(servers.env, "SHOW max_connections") == [("200",)]
        assert query(servers.env, "SHOW listen_addresses") == [("",)]
        assert query(servers.env, "SELECT upper('ção')") == [("ÇÃO",)]


def test_only_loopback_is_listened_on(servers: EmbeddedServers) -> None:
    pids = [servers.supervisor.pid_of(name) for name in NAMES]
    addresses = {
        connection.laddr.ip
        for pid in pids
        for connection in psutil.Process(pid).net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }

    assert addresses == {"127.0.0.1"}


def test_every_server_requires_credentials(servers: EmbeddedServers) -> None:
    env = servers.env
    port = urlsplit(env["REDIS_URL"]).port or 0
    with (
        redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.get("anything")
    with urllib3.PoolManager(retries=False) as pool:
        for method in ("GET", "PUT", "DELETE"):
            assert pool.request(method, env["S3_ENDPOINT_URL"] + "/any/thing").status == 403


def test_grpc_of_s3_needs_a_certificate_that_only_this_user_can_read(tmp_path: Path) -> None:
    method = "/filer_pb.SeaweedFiler/GetFilerConfiguration"
    with serving(tmp_path / "var", ONLY_S3):
        port = json.loads((tmp_path / "var/ports/s3.json").read_text())["filer"] + WEED_OFFSET
        files = {each: tmp_path / f"var/secrets/grpc.{each}.pem" for each in ("ca", "key", "cert")}
        assert {file.stat().st_mode & 0o777 for file in files.values()} == {0o600}
        ca, key, cert = (file.read_bytes() for file in files.values())
        name = (("grpc.ssl_target_name_override", "autos embedded part"),)

        def answer(channel: grpc.Channel) -> grpc.StatusCode:
            with channel:
                try:
                    channel.unary_unary(method, bytes, bytes)(b"", timeout=5)
                except grpc.RpcError as error:
                    return error.code()
            return grpc.StatusCode.OK

        address = f"127.0.0.1:{port}"
        with_ca = grpc.ssl_channel_credentials(ca)
        with_certificate = grpc.ssl_channel_credentials(ca, key, cert)
        assert answer(grpc.insecure_channel(address)) == grpc.StatusCode.UNAVAILABLE
        assert answer(grpc.secure_channel(address, with_ca, name)) == grpc.StatusCode.UNAVAILABLE
        assert answer(grpc.secure_channel(address, with_certificate, name)) == grpc.StatusCode.OK


def test_object_is_out_of_reach_by_every_port_of_s3_but_its_own(tmp_path: Path) -> None:
    with serving(tmp_path / "var", ONLY_S3) as servers, s3_client(servers.env) as s3:
        s3.make_bucket("closed")
        s3.put_object("closed", "object", io.BytesIO(b"x"), 1)
        pid = servers.supervisor.pid_of("s3")
        # S3, master, volume, filer and admin, each with gRPC; admin comes last.
        until(lambda: len(listening_ports(pid)) == 10, 60.0, "not all ports are there")
        ports = listening_ports(pid)

        with urllib3.PoolManager(retries=False, timeout=2.0) as pool:
            answers = {
                (port, method): answer_of(pool, method, port)
                for port in ports
                for method in ("GET", "PUT", "DELETE")
            }

        assert {
            status for status in answers.values() if status is not None and status < 400
        } == set()
        assert s3.stat_object("closed", "object").size == 1


def listening_ports(pid: int | None) -> set[int]:
    connections = psutil.Process(pid).net_connections(kind="inet")
    return {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}


def answer_of(pool: urllib3.PoolManager, method: str, port: int) -> int | None:
    """Return the HTTP status for the object at the filer; None if the port has no HTTP/1."""
    url = f"http://127.0.0.1:{port}/buckets/closed/object"
    try:
        return pool.request(method, url, body=b"y" if method == "PUT" else None).status
    except urllib3.exceptions.HTTPError:
        return None


def test_secrets_are_in_no_command_line_and_no_log(servers: EmbeddedServers) -> None:
    secrets = [
        servers.env["S3_ACCESS_KEY_ID"],
        servers.env["S3_SECRET_ACCESS_KEY"],
        urlsplit(servers.env["REDIS_URL"]).password or "",
    ]
    pids = [servers.supervisor.pid_of(name) for name in NAMES]
    texts = [" ".join(psutil.Process(pid).cmdline()) for pid in pids]
    var = folder_of(servers)
    texts += [log.read_text(errors="replace") for log in (var / "log").iterdir()]

    assert not [text for text in texts if any(secret in text for secret in secrets)]


def test_all_that_is_kept_is_private(servers: EmbeddedServers) -> None:
    var = folder_of(servers)
    folders = [var / name for name in ("postgres", "valkey", "s3", "secrets", "log", "socket")]
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}
    files = [file for name in ("secrets", "log") for file in (var / name).iterdir()]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_port_that_is_taken_is_replaced_by_a_free_one(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    with closing(folder), socket.socket() as taken:
        first = folder.ports("any", ("any",))["any"]
        assert folder.ports("any", ("any",))["any"] == first
        # Unless another program has just taken it.
        with suppress(OSError):
            taken.bind(("127.0.0.1", first))
            taken.listen(1)

        assert folder.ports("any", ("any",))["any"] != first


def test_s3_refuses_a_body_that_does_not_match_its_checksum(servers: EmbeddedServers) -> None:
    wrong: dict[str, str | list[str] | tuple[str]] = {
        "x-amz-checksum-sha256": "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="
    }
    with s3_client(servers.env) as s3:
        s3.make_bucket("checked")
        with pytest.raises(S3Error, match="BadDigest"):
            s3.put_object("checked", "object", io.BytesIO(b"other"), 5, metadata=wrong)

        assert not list(s3.list_objects("checked"))
