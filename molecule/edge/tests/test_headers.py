"""Headers that protect a browser: on every answer, unless the application or the inventory has its own."""

from __future__ import annotations

import json
import re
import urllib.parse

import pytest
from tests.stack import Stack

# Of OWASP's list of secure headers those that break nothing. Cross-Origin-Embedder-Policy and -Resource-Policy keep out
# others' images, so they are the application's to send.
DEFAULTS = {
    "Content-Security-Policy": "base-uri 'self'; frame-ancestors 'self'; object-src 'none'",
    "Cross-Origin-Opener-Policy": "same-origin-allow-popups",
    "Permissions-Policy": "browsing-topics=(), camera=(self), geolocation=(self), hid=(), microphone=(self), midi=(), "
    "serial=(), usb=()",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "X-Permitted-Cross-Domain-Policies": "none",
}
# And what it wants to be gone, as far as a server might send it.
TELLTALE = ("X-Powered-By", "X-AspNet-Version", "X-Runtime", "X-Server", "Via", "X-Generator")


def sends(**headers: str) -> str:
    """Return the path of a page that the application sends with these headers."""
    wanted = [("header", f"{name.replace('_', '-')}: {value}") for name, value in headers.items()]
    return f"/news/headers?{urllib.parse.urlencode(wanted)}"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/seen", 200),
        ("/static/style.css", 200),
        ("/static/nothing.css", 404),
        ("/nothing", 404),
        ("/news/x?status=500", 500),
        ("/static/%00", 400),
    ],
)
def test_every_answer_has_each_default_once(stack: Stack, path: str, status: int) -> None:
    answer = stack.get(f"https://plain.test{path}")
    assert answer.status_code == status
    for name, value in DEFAULTS.items():
        assert answer.headers.get_list(name) == [value], name
    assert re.fullmatch(r"nginx|", answer.headers["Server"])
    for name in TELLTALE:
        assert name not in answer.headers


def test_the_applications_own_header_counts(stack: Stack) -> None:
    path = sends(X_Frame_Options="DENY", Content_Security_Policy="default-src 'none'")
    answer = stack.get(f"https://plain.test{path}")
    assert answer.headers.get_list("X-Frame-Options") == ["DENY"]
    assert answer.headers.get_list("Content-Security-Policy") == ["default-src 'none'"]
    assert answer.headers.get_list("Referrer-Policy") == [DEFAULTS["Referrer-Policy"]]


def test_what_the_application_is_made_with_is_kept_back(stack: Stack) -> None:
    answer = stack.get(f"https://plain.test{sends(X_Powered_By='a framework')}")
    assert "X-Powered-By" not in answer.headers


def test_the_inventorys_header_counts_more(stack: Stack) -> None:
    path = sends(X_Frame_Options="DENY", Referrer_Policy="unsafe-url", X_Robots_Tag="all")
    for url in (path, "/static/style.css", "/nothing"):
        answer = stack.get(f"https://edge.test{url}")
        assert answer.headers.get_list("Referrer-Policy") == ["no-referrer"]
        assert answer.headers.get_list("X-Robots-Tag") == ["noindex"]
        assert answer.headers.get_list("Strict-Transport-Security") == [
            "max-age=63072000; includeSubDomains"
        ]
        assert "X-Frame-Options" not in answer.headers
        assert answer.headers.get_list("X-Content-Type-Options") == ["nosniff"]
        assert len(answer.headers.get_list("X-Request-ID")) == 1


def test_a_host_with_an_authority_of_its_own_asks_nobody_for_https_alone(stack: Stack) -> None:
    assert "Strict-Transport-Security" not in stack.get("https://plain.test/seen").headers


def test_a_request_has_one_id_in_answer_application_and_log(stack: Stack) -> None:
    answer = stack.get("https://edge.test/seen", headers={"X-Request-ID": "forged"})
    (identifier,) = answer.headers.get_list("X-Request-ID")
    assert ["x-request-id", identifier] in answer.json()["headers"]
    line = json.loads(stack.run(f"grep -h {identifier} /var/log/nginx/edge.json.log"))
    assert (line["status"], line["uri"]) == (200, "/seen")
