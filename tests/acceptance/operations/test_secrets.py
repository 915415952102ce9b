"""Search everywhere for planted secrets, after jobs that succeed and jobs that fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest
import redis
from google.protobuf.message import Message

from autos.downloads.v1 import downloads_pb2 as pb
from tests.conftest import PORTAL_TOKEN, WEBHOOK_SECRET
from tests.network.http2 import Caller
from tests.system.job_calls import await_job, documents, finish, run, start
from tests.system.running_autos import UNRESOLVABLE, Autos
from tests.system.running_processes import held_down, processes_of

QUERY = "token=planted-query-0123456789"
PASSWORD = "planted-password-0123456789"
# One of the sandbox's documents has it in its name.
CPF = "123.456.789-09"
END = "the-end-of-the-watch"
FAULTS = {
    1: "codex-500",
    2: "no-access-file",
    3: "foreign-href",
    4: "query-href",
    5: "redirect",
    6: "empty-file",
    7: "cut-for-good",
    8: "page-shell",
    9: "bad-gateway",
}


def _needles(autos: Autos) -> dict[str, str]:
    env = autos.stack.env
    return {
        "portal token": PORTAL_TOKEN,
        "webhook secret": WEBHOOK_SECRET.removeprefix("whsec_"),
        "webhook secret, decoded": "planted-webhook-secret",
        "webhook query": QUERY,
        "webhook password": PASSWORD,
        "S3 secret key": env["S3_SECRET_ACCESS_KEY"],
        "S3 access key": env["S3_ACCESS_KEY_ID"],
        "presigned URL": "X-Amz-Signature",
        "Redis password": urlsplit(env["REDIS_URL"]).password or "",
        "CPF": CPF,
    }


def _assert_clean(autos: Autos, texts: Mapping[str, str], *, but: frozenset[str]) -> None:
    """Assert that no text contains a secret, except kinds in `but`; texts are named by place."""
    found = [
        (kind, place)
        for place, text in texts.items()
        for kind, needle in _needles(autos).items()
        if kind not in but and needle.lower() in text.lower()
    ]
    assert found == []


@contextmanager
def _overheard(redis_url: str, received: list[str]) -> Iterator[None]:
    """Record every command that Redis receives inside the block."""
    with redis.Redis.from_url(redis_url) as client, client.monitor() as monitor:

        def listen() -> None:
            for command in monitor.listen():
                received.append(str(command["command"]))
                if END in received[-1]:
                    return

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            yield
        finally:
            client.echo(END)
            listener.join()


def _redis_values(redis_url: str) -> dict[str, str]:
    with redis.Redis.from_url(redis_url) as client:
        read = {
            b"string": client.get,
            b"hash": client.hgetall,
            b"list": lambda key: client.lrange(key, 0, -1),
            b"set": client.smembers,
            b"zset": lambda key: client.zrange(key, 0, -1),
            b"none": repr,  # The file was removed after it was found.
        }
        return {repr(key): repr(read[client.type(key)](key)) for key in client.scan_iter()}


@pytest.fixture(scope="module")
def redis_texts() -> dict[str, str]:
    """Return what Redis received and held while the jobs ran, by place."""
    return {}


@pytest.fixture(scope="module")
def jobs(autos: Autos, redis_texts: dict[str, str]) -> list[pb.Job]:
    """Return jobs that succeed, fail, wait and send webhooks, all with secrets."""
    received: list[str] = []
    redis_url = autos.stack.env["REDIS_URL"]
    with _overheard(redis_url, received):
        ended = [*_with_webhooks(autos), *_failed(autos)]
        number = autos.portal.add_case(documents=12)
        autos.portal.hold(number)
        held = start(autos, number).job
        autos.portal.wait_held(held.process_number, 5)
        with held_down(autos, "worker"):
            start(autos, autos.portal.add_case(documents=3))
            redis_texts.update(_redis_values(redis_url))
        autos.portal.release(held.process_number)
        ended.append(finish(autos, held.job_id))
    redis_texts["Redis commands"] = "\n".join(received)
    return ended


def _with_webhooks(autos: Autos) -> list[pb.Job]:
    """Return jobs with receivers that accept, reject, hang up and do not exist."""
    urls = [autos.receiver.url_of(f"/secrets/{which}?{QUERY}") for which in ("ok", "500", "close")]
    autos.receiver.answer(status=500, path=urlsplit(urls[1]).path + f"?{QUERY}")
    autos.receiver.answer(behaviour="close", path=urlsplit(urls[2]).path + f"?{QUERY}")
    urls.append(f"https://{UNRESOLVABLE}/secrets?{QUERY}")
    started = [run(autos, autos.portal.add_case(documents=4), webhook_url=url) for url in urls]
    return [
        await_job(autos, job.job_id, lambda job: job.webhooks[0].attempt_count > 0)
        for job in started
    ]


def _failed(autos: Autos) -> list[pb.Job]:
    """Return jobs that fail in many ways."""
    partly = autos.portal.add_case(documents=10, faults=FAULTS)
    unlisted = autos.portal.add_case(documents=1, list_fault="list-garbage")
    failed = [run(autos, number) for number in (partly, unlisted)]
    autos.portal.token = "another"
    try:
        failed.append(run(autos, autos.portal.add_case(documents=1)))
    finally:
        autos.portal.token = PORTAL_TOKEN
    assert failed[-1].error.reason == "CREDENTIALS_REJECTED"
    return failed


def test_no_log_line_holds_a_secret(
    autos: Autos, jobs: list[pb.Job], tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.getbasetemp()
    files = {str(file): file.read_text(errors="replace") for file in base.glob("*/log/*.log")}
    assert {Path(name).stem for name in files} >= {"postgres", "valkey", "s3"}
    assert any(str(jobs[0].job_id) in line for line in autos.lines)

    _assert_clean(autos, {**files, "log lines": "\n".join(autos.lines)}, but=frozenset())


def test_no_redis_value_or_command_holds_a_secret(
    autos: Autos, jobs: list[pb.Job], redis_texts: dict[str, str]
) -> None:
    assert any("autos:webhook" in place for place in redis_texts)
    assert str(jobs[0].job_id) in redis_texts["Redis commands"]

    _assert_clean(autos, redis_texts, but=frozenset())


def test_no_answer_holds_a_secret(autos: Autos, jobs: list[pb.Job]) -> None:
    api = autos.api
    answers: list[Message] = [api.ListJobs(pb.ListJobsRequest(page_size=500), timeout=60)]
    for job in jobs:
        answers += [job, *documents(autos, job)]
        answers += api.WatchProgress(pb.WatchProgressRequest(job_id=job.job_id), timeout=60)

    texts = {f"answer {number}": str(answer) for number, answer in enumerate(answers)}
    # The court chose the name, and the caller requested it.
    _assert_clean(autos, texts, but=frozenset({"CPF"}))


@pytest.mark.parametrize(
    "url",
    [
        f"http://10.0.0.1/hook?{QUERY}",
        f"http://user:{PASSWORD}@93.184.216.34/hook?{QUERY}",
        f"ftp://{UNRESOLVABLE}/{PASSWORD}?{QUERY}",
        f"http://{UNRESOLVABLE}:99999/hook?{QUERY}#{PASSWORD}",
        f"http://[{PASSWORD}]/hook?{QUERY}",
    ],
)
def test_no_error_holds_a_secret(autos: Autos, url: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        start(autos, autos.portal.add_case(documents=1), webhook_url=url)

    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    error_texts = {"error": f"{refused.value.details()} {refused.value.trailing_metadata()}"}
    _assert_clean(autos, error_texts, but=frozenset())
    _assert_clean(autos, {"log lines": "\n".join(autos.lines)}, but=frozenset())


def test_a_token_with_a_byte_that_is_no_text_is_not_logged(autos: Autos) -> None:
    host, _, port = autos.stack.env["GRPC_LISTEN"].rpartition(":")
    caller = Caller(host, int(port))
    method = "/autos.downloads.v1.DownloadService/ListJobs"
    caller.open(method, b"", metadata=[("authorization", f"Bearer {PASSWORD}\udcff")])
    try:
        while all(event.message is None for event in caller.read()):
            pass  # The receiver has answered, so it has read the body.
    finally:
        caller.close()

    _assert_clean(autos, {"log lines": "\n".join(autos.lines)}, but=frozenset())


def test_no_process_shows_a_secret_in_its_command(autos: Autos) -> None:
    commands = {
        f"{name} {pid}": Path(f"/proc/{pid}/cmdline").read_text()
        for pid, name in processes_of(autos).items()
    }

    _assert_clean(autos, commands, but=frozenset())
