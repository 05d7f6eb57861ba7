"""Nginx's sites: how they listen, where they lead, what they tell the application and the log."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from .conftest import Host

SHOP, HELLO = "{{ nginx_sites[0] }}", "{{ nginx_sites[1] }}"
TOKEN = re.compile(r"""\s+|\#[^\n]*|(?P<mark>[{};])|"([^"]*)"|'([^']*)'|([^\s{};"'\#]+)""")


@dataclass
class Directive:
    """A directive of Nginx with its arguments, and those within its braces."""

    name: str
    arguments: list[str]
    within: list[Directive] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """Return what each directive of a name directly within this one says."""
        return [" ".join(found.arguments) for found in self.within if found.name == name]

    def one(self, name: str) -> str:
        """Return what the only directive of a name says."""
        (found,) = self.all(name)
        return found

    def blocks(self, name: str) -> dict[str, Directive]:
        """Return the blocks of a name by their arguments."""
        return {" ".join(f.arguments): f for f in self.within if f.name == name}


def tokens(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each word and mark of a configuration, and whether it is a mark."""
    position = 0
    while position < len(text):
        match = TOKEN.match(text, position)
        assert match, f"not Nginx's language: {text[position : position + 40]!r}"
        position = match.end()
        if match["mark"]:
            yield match["mark"], True
        else:
            yield from ((word, False) for word in match.groups()[1:] if word is not None)


def parse(text: str) -> Directive:
    """Return a configuration as a tree; fail if a brace or a semicolon is missing."""
    stack, words = [Directive("", [])], list[str]()
    for token, mark in tokens(text):
        if not mark:
            words.append(token)
        elif token == "}":
            assert not words, f"no semicolon after {' '.join(words)}"
            stack.pop()
            assert stack, "one brace too many"
        else:
            assert words, f"nothing before {token}"
            directive = Directive(words[0], words[1:])
            words = []
            stack[-1].within.append(directive)
            if token == "{":
                stack.append(directive)
    assert len(stack) == 1 and not words, f"unfinished: {stack[-1].name} {' '.join(words)}"
    return stack[0]


def shared(host: Host, **variables: Any) -> Directive:
    """Return what all sites share."""
    return parse(host.render("nginx", "etc/nginx/conf.d/00-slipway.conf.j2", **variables))


def site(host: Host, item: str = SHOP, **variables: Any) -> Directive:
    """Return the configuration of one site."""
    template = "etc/nginx/conf.d/site.conf.j2"
    return parse(host.render("nginx", template, item=item, **variables))


def servers(host: Host, item: str = SHOP, **variables: Any) -> tuple[Directive, Directive]:
    """Return a site's server for HTTP, and the one for HTTPS."""
    http, https = (
        found for found in site(host, item, **variables).within if found.name == "server"
    )
    assert "ssl" not in http.all("listen")[0]
    return http, https


@pytest.mark.parametrize(
    "broken",
    ["server {", "server { } }", "server { listen 80 }", "listen 80", "; listen 80;", 'a "b;'],
)
def test_the_parser_of_these_tests_refuses_what_nginx_refuses(broken: str) -> None:
    with pytest.raises(AssertionError):
        parse(broken)


def test_http_2_is_said_as_the_version_of_nginx_wants_it(host: Host) -> None:
    _, https = servers(host)
    if host.debian == "12":
        assert https.all("listen") == ["443 ssl http2", "[::]:443 ssl http2"]
        assert https.all("http2") == []
    else:
        assert https.all("listen") == ["443 ssl", "[::]:443 ssl"]
        assert https.all("http2") == ["on"]


def test_the_redirect_names_the_port_when_it_is_another(host: Host) -> None:
    http, _ = servers(host)
    assert http.all("listen") == ["80", "[::]:80"]
    assert http.one("return") == "301 https://$host$request_uri"

    http, https = servers(host, nginx_http_port=8080, nginx_https_port=8443)
    assert http.all("listen") == ["8080", "[::]:8080"]
    assert http.one("return") == "301 https://$host:8443$request_uri"
    assert https.all("listen")[0].startswith("8443 ssl")


def test_the_ports_of_unknown_names_are_those_of_the_sites(host: Host) -> None:
    ports = {"nginx_http_port": 8080, "nginx_https_port": 8443}
    everyone = [f for f in shared(host, **ports).within if f.name == "server"]
    assert [f.all("listen")[0] for f in everyone] == [
        "8080 default_server",
        "8443 ssl default_server",
    ]
    assert everyone[0].one("return") == "444"
    assert everyone[1].one("ssl_reject_handshake") == "on"


def test_a_site_answers_to_all_its_domains_with_its_certificate(host: Host) -> None:
    http, https = servers(host)
    assert http.one("server_name") == https.one("server_name") == "shop.test www.shop.test"
    assert https.one("ssl_certificate") == "/etc/slipway/tls/shop/fullchain.pem"
    assert https.one("ssl_certificate_key") == "/etc/slipway/tls/shop/privkey.pem"
    assert https.one("ssl_protocols") == "TLSv1.2 TLSv1.3"


def test_connections_to_an_application_are_kept_for_less_than_a_retired_slot_waits(
    host: Host,
) -> None:
    upstream = site(host).blocks("upstream")["slipway_shop"]
    assert upstream.one("server") == "unix:/srv/shop/live/app.sock max_fails=0"
    assert int(upstream.one("keepalive")) > 0
    kept = int(upstream.one("keepalive_time").removesuffix("s"))
    assert upstream.one("keepalive_timeout") == f"{kept}s"
    assert kept < host.variables("fastapi_app")["fastapi_app_settle_time"]

    slower = site(host, nginx_upstream_keepalive_time=2).blocks("upstream")["slipway_shop"]
    assert slower.one("keepalive_time") == slower.one("keepalive_timeout") == "2s"


def test_the_application_is_told_the_truth_about_the_client(host: Host) -> None:
    location = servers(host)[1].blocks("location")["/"]
    assert location.one("proxy_pass") == "http://slipway_shop"
    assert location.one("proxy_http_version") == "1.1"
    assert dict(header.split(" ", 1) for header in location.all("proxy_set_header")) == {
        "Host": "$host",
        "Connection": "$slipway_connection",
        "Upgrade": "$http_upgrade",
        "X-Forwarded-For": "$remote_addr",
        "X-Forwarded-Proto": "$scheme",
        "X-Forwarded-Host": "$host",
        "X-Real-IP": "$remote_addr",
        "Forwarded": "",
        "X-Request-ID": "$request_id",
    }
    upgrade = shared(host).blocks("map")["$http_upgrade $slipway_connection"]
    # An empty text, which has no arguments here, is what lets a connection be kept.
    assert {f.name: f.arguments for f in upgrade.within} == {"default": ["upgrade"], "": [""]}


def test_static_files_are_served_from_the_live_release(host: Host) -> None:
    location = servers(host, nginx_static_max_age=60)[1].blocks("location")["/assets/"]
    # A slash at the end of both, or /assets../ would lead out of the folder.
    assert location.one("alias") == "/srv/shop/live/release/static/"
    assert location.one("gzip_static") == "on"
    # add_header is inherited only where there is none: each location needs the request id again.
    assert location.all("add_header") == [
        "Cache-Control public, max-age=60",
        "X-Request-ID $request_id always",
    ]


def test_an_application_without_static_files_is_asked_for_everything(host: Host) -> None:
    assert list(servers(host, HELLO)[1].blocks("location")) == ["/"]


def test_a_body_has_a_limit(host: Host) -> None:
    _, https = servers(host, nginx_client_max_body_size="1m")
    assert https.one("client_max_body_size") == "1m"


def test_the_access_log_is_json_with_the_request_id(host: Host) -> None:
    (log,) = (found for found in shared(host).within if found.name == "log_format")
    assert log.arguments[:2] == ["slipway", "escape=json"]
    # As Nginx fills it in: a variable that stands without quotes is a number.
    line = json.loads(re.sub(r":\$\w+", ":1", "".join(log.arguments[2:])))
    assert line["request_id"] == "$request_id"
    assert line["status"] == line["bytes"] == line["seconds"] == 1

    for found in servers(host):
        assert found.one("access_log") == "/var/log/nginx/shop.json.log slipway"
