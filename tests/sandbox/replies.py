"""Answers as values, and the pages that replace answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reply:
    """One HTTP answer.

    `length` is the value of Content-Length, true or not. Without it the body is chunked, or ends
    with the connection. `is_cut`: the connection is closed after the body as if it had broken.
    `pause_s` is the wait after each piece of the body. `interim` is sent unchanged, followed by a
    pause, before the status line.
    """

    status: int
    body: Iterable[bytes] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    is_chunked: bool = False
    is_cut: bool = False
    pause_s: float = 0.0
    interim: bytes = b""


def whole(
    status: int, body: bytes, media_type: str, headers: Mapping[str, str] | None = None
) -> Reply:
    return Reply(status, (body,), {"Content-Type": media_type, **(headers or {})}, len(body))


def as_json(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
    return whole(status, json.dumps(body, ensure_ascii=False).encode(), "application/json", headers)


def as_html(status: int, page: str) -> Reply:
    return whole(status, page.encode(), "text/html;charset=utf-8")


def problem(status: int, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    return as_json(status, {"status": status, "message": message}, headers)


def _shell() -> str:
    """Return the page of the web app, padded to the 2,422 bytes that the portal answers."""
    start = (
        '<!doctype html>\n<html lang="pt-br">\n<head>\n<meta charset="utf-8">\n'
        '<title>Portal de Serviços</title>\n<base href="/">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>'
    )
    end = (
        "</style>\n</head>\n<body>\n<app-root></app-root>\n"
        '<script src="main.js"></script>\n</body>\n</html>\n'
    )
    padding = 2422 - len(start.encode()) - len(end.encode())
    return f"{start}{'*{margin:0}'.ljust(padding)}{end}"


PAGE_SHELL = as_html(200, _shell())
FIREWALL = as_html(
    403,
    "<html><head><title>403 Forbidden</title></head>"
    "<body><center><h1>403 Forbidden</h1></center></body></html>",
)
WRONG_ROUTE = as_html(404, "<html><body><h1>404 Not Found</h1></body></html>")
MAINTENANCE = as_html(200, "<html><body><h1>Sistema em manutenção</h1></body></html>")
# The page that a firewall sends instead of any requested document.
BLOCK_PAGE = as_html(
    200,
    "<html><head><title>Request Rejected</title></head>"
    "<body>The requested URL was rejected. Your support ID is: 17.</body></html>",
)
BLOCK_TEXT = whole(200, b"Access denied. Ref: 0.17", "text/plain")
FRAGMENT = whole(200, "<div>Certidão de publicação</div>".encode(), "text/html;charset=utf-8")
LOGIN_PAGE = as_html(
    200,
    '<!DOCTYPE html>\n<html class="login-pf" lang="pt-BR">\n<head><meta charset="utf-8">'
    "<title>Entrar em PJe</title></head>\n"
    '<body><div id="kc-header">PJe</div><form id="kc-form-login" method="post">'
    '<input name="username"><input name="password" type="password"></form></body>\n</html>\n',
)
EXPIRED = problem(401, "Token expirado ou inválido.")
NO_ACCESS = problem(401, "O usuário não possui acesso ao processo.")
FORBIDDEN = problem(403, "Usuário sem permissão para o recurso.")
NOT_FOUND = problem(404, "Não foram encontrados registros")
NOT_ALLOWED = problem(405, "Método não permitido.")
CODEX_ERROR = problem(500, "Erro interno na API do Codex.")
NOT_READY = whole(
    200, '{"codigo":"PDPJ-12","mensagem":"Arquivo em preparação"}'.encode(), "application/json"
)
