"""Test the settings: one error names every problem, and no error shows a secret."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.environment.sentinel_url import parse_sentinel_url
from storage.errors import ConfigurationError
from storage.settings import PORTAL_URL, SECRETS, Settings

SECRET = "planted-secret"
KEY = "whsec_" + base64.b64encode(f"{SECRET}-of-some-length".encode()).decode()
NEEDED = {
    "DATABASE_URL": f"postgresql://autos:{SECRET}@db/autos?sslmode=require",
    "REDIS_URL": f"rediss://:{SECRET}@redis:6379/0",
    "S3_ENDPOINT_URL": "https://s3:9000",
    "S3_ACCESS_KEY_ID": f"{SECRET}-id",
    "S3_SECRET_ACCESS_KEY": f"{SECRET}-key",
    "PDPJ_TOKEN": f"{SECRET}-token",
    "WEBHOOK_SECRET": KEY,
}
ENCRYPTION_KEY = base64.urlsafe_b64encode(b"planted-secret-of-exactly-32-by!").decode()
# These replace PDPJ_TOKEN.
LOGIN = {
    "PDPJ_TOKEN_URL": "https://sso.example.org/auth/realms/pje/protocol/openid-connect/token",
    "PDPJ_CLIENT_ID": "autos",
    "PDPJ_CLIENT_SECRET": f"{SECRET}-client",
    "PDPJ_REFRESH_TOKEN": f"{SECRET}-refresh",
    "AUTOS_ENCRYPTION_KEY": ENCRYPTION_KEY,
}
WITHOUT_TOKEN = {name: value for name, value in NEEDED.items() if name != "PDPJ_TOKEN"}
WRONG_LOGIN = {
    "PDPJ_TOKEN_URL": (
        *("sso", "ftp://sso/token", "https://", "http://sso.example.org/token"),
        *(f"https://user:{SECRET}@sso/token", f"https://sso/token?{SECRET}", "https://sso/a b"),
        *(f"https://sso/token#{SECRET}", "https://sso/ação", "https://sso:99999/token"),
    ),
    "PDPJ_CLIENT_ID": (f"{SECRET} id", "ação", f"{SECRET}\r\nX"),
    "PDPJ_CLIENT_SECRET": (f"{SECRET} b", f"{SECRET}\tb", f"{SECRET}ç", f"{SECRET}\n{SECRET}"),
    "PDPJ_REFRESH_TOKEN": (f"{SECRET} b", f"{SECRET}\x00"),
    "AUTOS_ENCRYPTION_KEY": (
        SECRET,
        ",",
        f"{ENCRYPTION_KEY},{SECRET}",
        ENCRYPTION_KEY[:-4],
        "ç" * 44,
    ),
}
WRONG = {
    "PDPJ_CASES_PER_DAY": ("0", "-1", "1.5", "many", "1000001"),
    "PDPJ_CASES_PER_30_DAYS_BY_COURT": (
        *("5.02", "5.02=", "5.02=0", "5.02=1,500", "502=1500", "5.2=1500", "0.02=1500"),
        *("=1500", "5.02=1500;5.15=1500", "5.02=1500,5.02=100", "5.02=x"),
    ),
    "DATABASE_URL": (
        "mysql://db/autos",
        "postgresql://db",
        "postgresql://db/",
        "db",
        "[",
        "postgresql://u:%zz@db/autos",
        "postgresql://db/autos?timeout=3",
    ),
    "REDIS_URL": (
        *("http://redis", "redis", "redis://h:0", "redis://h:port", "redis+sentinel://h:26379"),
        *(f"rediss+sentinel://:{SECRET}@h:x/master", f"rediss+sentinel://h/m?{SECRET}=1"),
        f"rediss+sentinel://h/m/{SECRET}",
    ),
    "S3_ENDPOINT_URL": (
        *("s3:9000", "ftp://s3", "http://", "http://s3/path", "http://s3?a=b", "http://s3?"),
        *("http://s3#a", f"http://user:{SECRET}@s3", f"http://:{SECRET}@s3", "http://s3:99999"),
    ),
    "S3_CA_FILE": ("/missing",),
    "S3_CREDENTIALS": ("roles",),
    "S3_STS_URL": ("sts", "https://sts/path"),
    "S3_PUBLIC_ENDPOINT_URL": ("s3", f"https://:{SECRET}@s3"),
    "PDPJ_BASE_URL": ("portal", "https://portal/api"),
    "GRPC_LISTEN": ("50051", ":50051", "host:", "host:port", "host:65536", "host:\u0661"),
    "GRPC_REFLECTION": ("yes", "ON"),
    "GRPC_REUSE_PORT": ("yes", "1"),
    "AUTOS_WITHOUT_CLIENTS": ("yes", "true"),
    "GRPC_PLAINTEXT": ("yes", "on"),
    "DATABASE_PLAINTEXT": ("yes",),
    "REDIS_PLAINTEXT": ("on",),
    "S3_PLAINTEXT": ("tls-ends-in-front-of-me",),
    "PDPJ_PLAINTEXT": ("true",),
    "METRICS_PLAINTEXT": ("on",),
    "WEBHOOK_PLAINTEXT": ("on",),
    "CLIENT_STARTS_PER_MINUTE": ("0", "1000001"),
    "CLIENT_JOBS_AT_ONCE": ("0", "-1"),
    "CLIENT_OPEN_WATCHES": ("0", "many"),
    "CLIENT_WAITING_JOBS": ("0", "-1"),
    "CLIENT_WEBHOOKS_AT_ONCE": ("0", "many"),
    "CLIENT_WEBHOOKS_PER_RECEIVER": ("0", "-1"),
    "METRICS_LISTEN": ("9100", ":9100", "host:", "host:port", "host:65536", "host:65532"),
    "WEBHOOK_SECRET": (
        *(SECRET, f"whsec_{SECRET}", ",", f"{KEY},{SECRET}", KEY.removeprefix("whsec_")),
        *("whsec_" + base64.b64encode(b"k" * size).decode() for size in (0, 23, 65)),
        f"whsec_ç{SECRET}",
        *(
            "whsec_" + base64.b64encode(key).decode()
            for key in (b"k" * 32, b"key" * 10, bytes(range(40)))
        ),
    ),
    "S3_PREFIX": ("/", "a//b", "/a", "a b", "../a", "a/./b", "ação", "a" * 201),
    "ORPHAN_AGE_S": ("0", "-1", "never", "OFF"),
    "LANES_PER_JOB": ("0", "101", "-1", "+5", "5.0", "five", "\u0665"),
    "WORKER_PROCESSES": ("0", "65"),
    "WORKER_THREADS": ("0", "257"),
    "SPOOL_ID": ("h1", "1234"),
    "SPOOL_MAX_BYTES": ("0", "1", "8GiB", "9" * 30),
    "DOCUMENT_MAX_BYTES": ("0", str(5 * 2**30 + 1), "9" * 30),
    "DOCUMENT_DEADLINE_S": ("0", "86401"),
    "JOB_DEADLINE_S": ("0",),
    "LISTING_MAX_AGE_S": ("-1", "1h"),
    "ATTEMPTS": ("0", "21"),
    "ATTEMPTS_FEW": ("0",),
    "RETRY_BASE_MS": ("0",),
    "LEASE_S": ("2", "601"),
    "CLOCK_INTERVAL_MS": ("49",),
    "LOG_FORMAT": ("xml",),
    "GRPC_CHANNELZ": ("1", "yes"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": (
        *("collector:4318", "ftp://collector", "http://", f"http://user:{SECRET}@collector"),
        *(f"http://collector?key={SECRET}", f"http://collector#{SECRET}"),
    ),
}


def _problems(env: dict[str, str]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env(env)
    return str(caught.value)


def test_every_missing_variable_is_named_at_once() -> None:
    problems = _problems({})

    assert [name for name in NEEDED if f"{name} is not set" in problems] == list(NEEDED)
    assert problems.count(" is not set") == len(NEEDED)
    assert "nor is PDPJ_TOKEN_URL" in problems


def test_blank_counts_as_missing() -> None:
    problems = _problems({**NEEDED, "PDPJ_TOKEN": " \t", "S3_ACCESS_KEY_ID": " "})

    assert "S3_ACCESS_KEY_ID is not set;" in problems
    assert "; PDPJ_TOKEN is not set, nor is PDPJ_TOKEN_URL" in problems
    assert problems.count(";") == 1


def test_every_wrong_variable_is_named_at_once() -> None:
    problems = _problems({**NEEDED, **{name: values[0] for name, values in WRONG.items()}})

    assert [name for name in WRONG if f"{name} " in problems] == list(WRONG)


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in WRONG.items() for v in values])
def test_a_wrong_value_is_refused_by_its_rule_and_not_repeated(name: str, value: str) -> None:
    problems = _problems({**NEEDED, name: value})

    assert problems.startswith(f"{name} ")
    assert problems.endswith(".")
    assert "; " not in problems.replace("bytes (several; ", "")
    assert SECRET not in problems


@pytest.mark.parametrize(
    ("name", "value"), [(n, v) for n, values in WRONG_LOGIN.items() for v in values]
)
def test_a_wrong_part_of_a_login_is_refused_and_not_repeated(name: str, value: str) -> None:
    problems = _problems({**WITHOUT_TOKEN, **LOGIN, name: value})

    assert problems.startswith(f"{name} ")
    assert "; " not in problems
    assert SECRET not in problems


@pytest.mark.parametrize(
    "parts",
    [
        ("PDPJ_CLIENT_SECRET",),
        ("PDPJ_REFRESH_TOKEN",),
        ("PDPJ_CLIENT_SECRET", "PDPJ_REFRESH_TOKEN"),
    ],
)
def test_a_login_needs_a_secret_or_a_refresh_token_and_may_have_both(
    parts: tuple[str, ...],
) -> None:
    whole = ("PDPJ_TOKEN_URL", "PDPJ_CLIENT_ID", "AUTOS_ENCRYPTION_KEY", *parts)
    settings = Settings.from_env({**WITHOUT_TOKEN, **{name: LOGIN[name] for name in whole}})

    assert settings.pdpj_token is None
    assert settings.pdpj_token_url == LOGIN["PDPJ_TOKEN_URL"]
    assert settings.encryption_keys == (ENCRYPTION_KEY,)
    given_parts = (settings.pdpj_client_secret, settings.pdpj_refresh_token)
    assert [part is not None for part in given_parts] == [
        name in parts for name in ("PDPJ_CLIENT_SECRET", "PDPJ_REFRESH_TOKEN")
    ]


@pytest.mark.parametrize(
    ("given_names", "expected"),
    [
        (
            ("PDPJ_TOKEN_URL",),
            ["PDPJ_CLIENT_ID is not", "AUTOS_ENCRYPTION_KEY is not", "PDPJ_CLIENT_SECRET is not"],
        ),
        (("PDPJ_TOKEN_URL", "PDPJ_CLIENT_ID", "PDPJ_CLIENT_SECRET"), ["AUTOS_ENCRYPTION_KEY is"]),
        (("PDPJ_TOKEN_URL", "PDPJ_REFRESH_TOKEN", "AUTOS_ENCRYPTION_KEY"), ["PDPJ_CLIENT_ID is"]),
        (("PDPJ_TOKEN_URL", "PDPJ_CLIENT_ID", "AUTOS_ENCRYPTION_KEY"), ["PDPJ_CLIENT_SECRET is"]),
        (("PDPJ_CLIENT_ID", "PDPJ_CLIENT_SECRET"), ["PDPJ_TOKEN_URL is not set, but"]),
        (("PDPJ_REFRESH_TOKEN",), ["PDPJ_TOKEN_URL is not set, but"]),
        (("AUTOS_ENCRYPTION_KEY",), ["PDPJ_TOKEN is not set, nor is PDPJ_TOKEN_URL"]),
    ],
)
def test_every_gap_of_a_login_is_reported_at_once(
    given_names: tuple[str, ...], expected: list[str]
) -> None:
    problems = _problems({**WITHOUT_TOKEN, **{name: LOGIN[name] for name in given_names}})

    assert [problem for problem in expected if problem in problems] == expected
    assert problems.count("; ") == len(expected) - 1


def test_a_token_and_a_login_at_once_are_refused() -> None:
    problems = _problems({**NEEDED, **LOGIN})

    assert problems == "PDPJ_TOKEN must not be set together with PDPJ_TOKEN_URL."


def test_a_budget_of_cases_is_taken_by_court() -> None:
    given = {
        "PDPJ_CASES_PER_DAY_BY_COURT": " 5.12=100 ",
        "PDPJ_CASES_PER_30_DAYS_BY_COURT": "5.02=1500, 5.15=1200,",
    }
    settings = Settings.from_env(NEEDED | given)

    assert settings.pdpj_cases_per_day_by_court == {"5.12": 100}
    assert settings.pdpj_cases_per_30_days_by_court == {"5.02": 1500, "5.15": 1200}
    assert settings.pdpj_cases_per_day is None


def test_several_encryption_keys_are_taken_in_their_order() -> None:
    second = base64.urlsafe_b64encode(b"k" * 32).decode()
    keys = f" {ENCRYPTION_KEY} , {second},"
    settings = Settings.from_env({**WITHOUT_TOKEN, **LOGIN, "AUTOS_ENCRYPTION_KEY": keys})

    assert settings.encryption_keys == (ENCRYPTION_KEY, second)


@given(
    name=st.sampled_from(sorted(NEEDED)),
    value=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
)
def test_no_value_is_ever_shown(name: str, value: str) -> None:
    planted = f"planted{value}planted"
    try:
        shown = repr(Settings.from_env({**NEEDED, name: planted}))
    except ConfigurationError as error:
        shown = str(error)
    assert planted not in shown


def test_no_secret_in_the_repr() -> None:
    for env in ({**NEEDED, "S3_SESSION_TOKEN": SECRET}, {**WITHOUT_TOKEN, **LOGIN}):
        settings = Settings.from_env(env)

        for shown in (repr(settings), str(settings), f"{settings}"):
            assert SECRET not in shown
            assert KEY not in shown
            assert ENCRYPTION_KEY not in shown


def test_defaults() -> None:
    settings = Settings.from_env(NEEDED)

    assert settings.s3_bucket == "autos"
    assert settings.s3_region == "us-east-1"
    assert settings.s3_public_endpoint_url == settings.s3_endpoint_url == "https://s3:9000"
    assert settings.pdpj_base_url == PORTAL_URL
    assert settings.grpc_listen == "127.0.0.1:50051"
    assert settings.grpc_reuse_port is False
    assert settings.metrics_listen is None
    assert (settings.otlp_endpoint, settings.is_channelz_on, settings.log_format) == (
        None,
        False,
        None,
    )
    assert settings.webhook_secrets == (KEY,)
    assert settings.webhook_allowed_hosts == ()
    assert settings.lanes_per_job == 5
    assert (settings.worker_processes, settings.worker_threads) == (2, 16)
    assert (settings.data_dir, settings.spool_dir) == (Path("var"), Path("var/spool"))
    assert settings.spool_id is None
    assert settings.spool_max_bytes == 8 * 2**30
    assert settings.document_max_bytes == 2 * 2**30
    assert settings.document_deadline_s == 300
    assert settings.job_deadline_s == 24 * 3_600
    assert settings.listing_max_age_s == 3_600
    assert (settings.attempts, settings.attempts_few, settings.retry_base_ms) == (5, 3, 1_000)


def test_what_is_set_is_taken() -> None:
    settings = Settings.from_env(
        {
            **NEEDED,
            "DATA_DIR": "/data",
            "S3_PUBLIC_ENDPOINT_URL": "https://files.example.org/",
            "SPOOL_ID": "6f0a1f5e-5f0b-4a0f-9d55-2f5f6c1f3a10",
            "WEBHOOK_SECRET": f"{KEY}, {KEY}",
            "WEBHOOK_ALLOWED_HOSTS": " a.org , *.b.org,, ",
            "LISTING_MAX_AGE_S": "0",
            "METRICS_LISTEN": "[::1]:9100",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector:4318/otlp",
            "GRPC_CHANNELZ": "on",
        }
    )

    assert settings.metrics_listen == "[::1]:9100"
    assert settings.otlp_endpoint == "https://collector:4318/otlp"
    assert settings.is_channelz_on
    assert settings.spool_dir == Path("/data/spool")
    assert settings.s3_public_endpoint_url == "https://files.example.org"
    assert settings.spool_id == UUID("6f0a1f5e-5f0b-4a0f-9d55-2f5f6c1f3a10")
    assert settings.webhook_secrets == (KEY, KEY)
    assert settings.webhook_allowed_hosts == ("a.org", "*.b.org")
    assert settings.listing_max_age_s == 0


CLIENTS = {"AUTOS_CLIENTS_FILE": "clients.json"}


def test_where_clients_have_secrets_of_their_own_the_shared_one_is_not_needed() -> None:
    without = {name: value for name, value in NEEDED.items() if name != "WEBHOOK_SECRET"}

    assert "WEBHOOK_SECRET is not set" in _problems(without)
    assert Settings.from_env(without | CLIENTS).webhook_secrets == ()
    assert Settings.from_env(NEEDED | CLIENTS).webhook_secrets == (KEY,)
    assert "WEBHOOK_SECRET must be" in _problems(NEEDED | CLIENTS | {"WEBHOOK_SECRET": "x"})


TLS = {"GRPC_TLS_CERT_FILE": "cert.pem", "GRPC_TLS_KEY_FILE": "key.pem"}
ANYBODY = {"AUTOS_WITHOUT_CLIENTS": "serve-anyone-who-can-reach-me"}
PLAIN = {"GRPC_PLAINTEXT": "tls-ends-in-front-of-me"}


@pytest.mark.parametrize(
    "listen",
    ["0.0.0.0:1", "[::]:1", "10.0.0.5:1", "[fd00::1]:1", "autos:1", "localhost.evil:1", "*:1"],
)
def test_access_from_other_machines_needs_an_explicit_setting(listen: str) -> None:
    there = {**NEEDED, "GRPC_LISTEN": listen}

    assert _problems(there) == (
        "GRPC_LISTEN leads beyond loopback: set AUTOS_CLIENTS_FILE,"
        " or AUTOS_WITHOUT_CLIENTS=serve-anyone-who-can-reach-me."
    )
    assert _problems({**there, **CLIENTS}) == (
        "GRPC_LISTEN leads beyond loopback: set GRPC_TLS_CERT_FILE,"
        " or GRPC_PLAINTEXT=tls-ends-in-front-of-me."
    )
    assert "AUTOS_CLIENTS_FILE" in _problems({**there, **TLS})
    for explicit in ({**CLIENTS, **TLS}, {**CLIENTS, **PLAIN}, ANYBODY):
        assert Settings.from_env({**there, **explicit}).grpc_listen == listen


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"])
def test_loopback_needs_no_words(listen: str) -> None:
    assert Settings.from_env({**NEEDED, "GRPC_LISTEN": listen}).clients_file is None


def test_beyond_loopback_reflection_is_off_unless_it_is_set() -> None:
    there = {**NEEDED, **CLIENTS, **TLS, "GRPC_LISTEN": "0.0.0.0:1"}

    assert Settings.from_env(NEEDED).grpc_reflection
    assert not Settings.from_env(there).grpc_reflection
    assert Settings.from_env({**there, "GRPC_REFLECTION": "on"}).grpc_reflection
    assert not Settings.from_env({**NEEDED, "GRPC_REFLECTION": "off"}).grpc_reflection


def test_tls_needs_both_of_its_files() -> None:
    assert _problems({**NEEDED, "GRPC_TLS_CERT_FILE": "a"}) == (
        "GRPC_TLS_KEY_FILE is not set, but TLS needs it."
    )
    assert _problems({**NEEDED, "GRPC_TLS_KEY_FILE": "a"}) == (
        "GRPC_TLS_CERT_FILE is not set, but TLS needs it."
    )
    assert "GRPC_TLS_KEY_FILE is not set, but TLS needs it" in _problems(
        {**NEEDED, "GRPC_TLS_CLIENT_CA_FILE": "a"}
    )


@pytest.mark.parametrize(
    ("text", "prefix"),
    [("", ""), ("autos", "autos/"), ("a/b-1/", "a/b-1/"), ("a.b/c_d", "a.b/c_d/")],
)
def test_a_prefix_ends_with_one_slash(text: str, prefix: str) -> None:
    assert Settings.from_env({**NEEDED, "S3_PREFIX": text}).s3_prefix == prefix


def test_the_sweep_can_be_switched_off() -> None:
    assert Settings.from_env({**NEEDED, "ORPHAN_AGE_S": "off"}).orphan_age_s is None
    assert Settings.from_env({**NEEDED, "ORPHAN_AGE_S": "60"}).orphan_age_s == 60


TRUSTED = "its-network-is-trusted"


@pytest.mark.parametrize(
    ("name", "url", "remedy", "word"),
    [
        ("S3_ENDPOINT_URL", "http://s3", "use https://", "S3_PLAINTEXT"),
        ("S3_PUBLIC_ENDPOINT_URL", "http://10.0.0.1:9000", "use https://", "S3_PLAINTEXT"),
        ("PDPJ_BASE_URL", "http://portal.jus.br", "use https://", "PDPJ_PLAINTEXT"),
        ("METRICS_LISTEN", "0.0.0.0:9100", "use 127.0.0.1", "METRICS_PLAINTEXT"),
        ("METRICS_LISTEN", "[::]:9100", "use 127.0.0.1", "METRICS_PLAINTEXT"),
        ("REDIS_URL", "redis://:p@redis/0", "use rediss://", "REDIS_PLAINTEXT"),
        ("REDIS_URL", "redis://[fd00::1]:6379", "use rediss://", "REDIS_PLAINTEXT"),
        *(
            ("DATABASE_URL", url, "add sslmode=verify-full to it", "DATABASE_PLAINTEXT")
            for url in (
                "postgresql://db/autos",
                "postgresql://db/autos?sslmode=prefer",
                "postgresql:///autos?host=127.0.0.1,db",
                "postgresql://localhost/autos?hostaddr=10.0.0.1",
            )
        ),
    ],
)
def test_a_connection_beyond_loopback_without_tls_needs_an_explicit_setting(
    name: str, url: str, remedy: str, word: str
) -> None:
    there = {**NEEDED, name: url}

    assert _problems(there) == (
        f"{name} leads beyond loopback without TLS: {remedy}, or set {word}={TRUSTED}."
    )
    assert Settings.from_env({**there, word: TRUSTED})


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("S3_ENDPOINT_URL", "http://127.0.0.1:9000"),
        ("PDPJ_BASE_URL", "http://[::1]:8080"),
        ("REDIS_URL", "redis://localhost/0"),
        ("REDIS_URL", "redis:///0"),
        ("REDIS_URL", "unix:///run/valkey.sock"),
        ("REDIS_URL", "rediss://redis/0"),
        ("DATABASE_URL", "postgresql:///autos"),
        ("DATABASE_URL", "postgresql:///autos?host=/run/postgresql"),
        ("DATABASE_URL", "postgresql://127.0.0.1/autos"),
        ("DATABASE_URL", "postgresql://db/autos?sslmode=verify-full"),
    ],
)
def test_a_connection_on_this_machine_or_with_tls_needs_no_words(name: str, url: str) -> None:
    assert Settings.from_env({**NEEDED, name: url})


REQUIRED_OF = {
    "release": {"DATABASE_URL", "S3_ENDPOINT_URL", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"},
    "uploader": {*NEEDED} - {"PDPJ_TOKEN", "WEBHOOK_SECRET"},
    "notifier": {*NEEDED} - {"PDPJ_TOKEN"},
    "server": {*NEEDED},
    **dict.fromkeys(("worker", "scheduler"), {*NEEDED} - {"WEBHOOK_SECRET"}),
}


@pytest.mark.parametrize("process", REQUIRED_OF)
def test_a_process_requires_only_what_it_uses(process: str) -> None:
    used = {name: NEEDED[name] for name in REQUIRED_OF[process]}

    assert Settings.from_env(used, process).database_url == NEEDED["DATABASE_URL"]
    for name in used:
        lacking = {each: value for each, value in used.items() if each != name}
        with pytest.raises(ConfigurationError, match=f"^{name} is not set"):
            Settings.from_env(lacking, process)


def test_only_the_server_needs_words_for_its_address() -> None:
    there = {**NEEDED, "GRPC_LISTEN": "0.0.0.0:50051"}

    assert Settings.from_env(there, "worker")
    with pytest.raises(ConfigurationError, match=r"^GRPC_LISTEN leads"):
        Settings.from_env(there, "server")


@pytest.mark.parametrize("name", [name for name in SECRETS if name in {**WITHOUT_TOKEN, **LOGIN}])
def test_a_secret_may_stand_in_a_file(name: str, tmp_path: Path) -> None:
    env = {**WITHOUT_TOKEN, **LOGIN}
    file = tmp_path / "secret"
    file.write_text(f"{env[name]}\n")
    in_file = {**env, f"{name}_FILE": str(file)}
    del in_file[name]

    assert Settings.from_env(in_file) == Settings.from_env(env)
    assert _problems({**in_file, name: env[name]}) == (
        f"{name} must not be set together with {name}_FILE."
    )
    file.write_text(" \n")
    assert _problems(in_file) == f"{name}_FILE names an empty file."
    file.write_bytes(b"\xff")
    assert _problems(in_file) == f"{name}_FILE names a file that cannot be read (not UTF-8 text)."
    file.unlink()
    assert _problems(in_file) == (
        f"{name}_FILE names a file that cannot be read (No such file or directory)."
    )


@pytest.mark.parametrize(
    "call",
    [
        "from server.__main__ import main; main()",
        "from storage.release import main; main([])",
        "from actors.__main__ import main; main(['worker'])",
    ],
)
def test_no_process_writes_core_dumps(call: str) -> None:
    # A shell may have set the first of the two limits to 0 already.
    first = (
        "import resource; from pathlib import Path; core = resource.RLIMIT_CORE;"
        " resource.setrlimit(core, (resource.getrlimit(core)[1],) * 2)"
    )
    then = (
        "print(*resource.getrlimit(core), int(Path('/proc/self/coredump_filter').read_text(), 16))"
    )
    program = [sys.executable, "-c", f"{first}; {call}; {then}"]
    env = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path)}

    done = subprocess.run(program, env=env, capture_output=True, text=True, timeout=60, check=True)

    assert "is not set" in done.stderr
    assert done.stdout == "0 0 0\n"


def test_a_role_needs_no_keys_of_the_store() -> None:
    env = {name: value for name, value in NEEDED.items() if not name.startswith("S3_")}
    env |= {"S3_ENDPOINT_URL": NEEDED["S3_ENDPOINT_URL"], "S3_CREDENTIALS": "role"}
    assert Settings.from_env(env).s3_access_key_id == ""


@pytest.mark.parametrize(
    "url",
    [
        "rediss+sentinel://a:b@one:1,two/master/3",
        "redis+sentinel://127.0.0.1:1,localhost/master",
        "unix:///run/redis.sock?db=1",
    ],
)
def test_other_forms_of_the_url_of_valkey_are_accepted(url: str) -> None:
    assert Settings.from_env({**NEEDED, "REDIS_URL": url}).redis_url == url


def test_sentinels_beyond_loopback_need_tls() -> None:
    url = "redis+sentinel://127.0.0.1:1,far:2/master"
    with pytest.raises(ConfigurationError, match="REDIS_URL leads beyond loopback without TLS"):
        Settings.from_env({**NEEDED, "REDIS_URL": url})


def test_the_parts_of_a_sentinel_url() -> None:
    found = parse_sentinel_url(
        "rediss+sentinel://a:b%40@one:1,two/master/3?ssl_ca_certs=/ca&sentinel_password=c"
    )
    assert (found.sentinels, found.master) == ((("one", 1), ("two", 26379)), "master")
    tls = {"ssl": True, "ssl_ca_certs": "/ca"}
    assert found.options == {"username": "a", "password": "b@", "db": 3, **tls}
    assert found.sentinel_options == {"username": None, "password": "c", **tls}
