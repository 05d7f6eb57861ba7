"""Nginx's sites: how they listen, where they lead, what they tell the application and the log."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from random import Random
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from .conftest import ROOT, Host, read, trusted

# A site of one application, another of one that has nothing but itself, and one that three share.
SHOP, HELLO, DESK = "{{ nginx_sites[0] }}", "{{ nginx_sites[1] }}", "{{ nginx_sites[2] }}"
# And one with a setting of each kind for some of its paths.
FEED = "{{ nginx_sites[3] }}"
# Pages of Nginx's own, in each site.
OURS = ["/.slipway/maintenance/", "@slipway_gateway", "/.slipway/error/"]
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
        assert https.all("listen") == ["443 ssl", "[::]:443 ssl", "443 quic", "[::]:443 quic"]
        assert https.all("http2") == ["on"]


def test_http_3_is_spoken_and_advertised_where_nginx_knows_it_unless_it_is_switched_off(
    host: Host,
) -> None:
    for wanted in (True, False):
        _, https = servers(host, nginx_http3=wanted, nginx_https_port=8443)
        named = [each for each in https.all("listen") if "quic" in each]
        told = [each for each in https.all("add_header") if each.startswith("Alt-Svc")]
        if wanted and host.debian == "13":
            assert named == ["8443 quic", "[::]:8443 quic"]
            assert told == ['Alt-Svc h3=":8443"; ma=86400 always']
        else:
            assert named == told == []
        # Each socket is bound once, for all sites.
        unknown = [f for f in shared(host, nginx_http3=wanted).within if f.name == "server"][1]
        bound = [each for each in unknown.all("listen") if "quic" in each]
        assert len(bound) == len([each for each in bound if each.endswith("reuseport")])
        assert len(bound) == len(named)


def test_what_the_first_server_of_a_port_decides_is_what_the_sites_say(host: Host) -> None:
    for profile, protocols in (("intermediate", "TLSv1.2 TLSv1.3"), ("modern", "TLSv1.3")):
        _, https = servers(host, nginx_tls_profile=profile)
        everyone = shared(host, nginx_tls_profile=profile).within
        unknown = [found for found in everyone if found.name == "server"][1]

        def said(server: Directive) -> dict[str, list[str]]:
            return {
                found.name: found.arguments
                for found in server.within
                if found.name.startswith("ssl_")
                and "certificate" not in found.name
                and found.name != "ssl_reject_handshake"
            }

        assert said(https) == said(unknown)
        assert https.one("ssl_protocols") == protocols
        groups = https.one("ssl_ecdh_curve").split(":")
        assert groups[-3:] == ["X25519", "prime256v1", "secp384r1"]
        assert (groups[0] == "X25519MLKEM768") == (host.debian == "13")


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
    assert everyone[0].all("listen")[0] == "8080 default_server"
    http2 = " http2" if host.debian == "12" else ""
    assert everyone[1].all("listen")[0] == f"8443 ssl{http2} default_server"
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


def balanced(**more: Any) -> list[dict[str, Any]]:
    """Return a site of one application that three servers have."""
    servers = [
        {"name": "a", "address": "10.0.0.1:8000", "weight": 2},
        {"name": "b", "address": "[2001:db8::2]:8000"},
        {"name": "c", "address": "unix:/srv/app0/live/app.sock", "backup": True},
    ]
    given = sites({"servers": servers, **more})
    del given[0]["apps"][0]["upstream"]
    return given


def test_several_servers_are_balanced_and_retried_but_nothing_is_done_twice(host: Host) -> None:
    drained = {"__nginx_look": {"stdout": "/var/lib/slipway/drain/app0/b\n/x"}}
    given: dict[str, Any] = {"nginx_sites": balanced(balance="least_conn"), **drained}
    whole = site(host, **given)
    upstream = whole.blocks("upstream")["slipway_app0"]
    limits = "max_fails=1 fail_timeout=10s"
    assert upstream.all("server") == [
        f"10.0.0.1:8000 weight=2 {limits}",
        f"[2001:db8::2]:8000 weight=1 {limits} down",
        f"unix:/srv/app0/live/app.sock weight=1 {limits} backup",
    ]
    assert upstream.all("least_conn") == [""] and upstream.all("zone")
    assert site(host, nginx_sites=balanced()).blocks("upstream")["slipway_app0"].all("least_conn") == []  # fmt: skip
    (tls,) = (server for server in whole.within if server.all("proxy_next_upstream"))
    # No non_idempotent: a POST that was sent is never sent again.
    assert tls.one("proxy_next_upstream") == "error timeout"
    assert int(tls.one("proxy_next_upstream_tries")) == 3
    assert [one for one in site(host).within if one.all("proxy_next_upstream")] == []


def test_an_application_has_no_more_requests_at_once_than_it_may(host: Host) -> None:
    routes = [{"path": "/events", "stream": True}]
    given = sites(
        {"max_in_flight": 256, "routes": routes},
        {"max_in_flight": 8, "path": "/b", "strip_path": True},
        {"path": "/c"},
    )
    whole = site(host, nginx_sites=given)
    upstreams = whole.blocks("upstream")
    names = ["slipway_app0", "slipway_app0.open", "slipway_app1", "slipway_app1.open"]
    assert list(upstreams) == [*names, "slipway_app2"]
    servers = [upstreams[name].one("server") for name in upstreams]
    unbound = "unix:/x max_fails=0"
    assert (
        servers == [f"{unbound} max_conns=256", unbound, f"{unbound} max_conns=8"] + [unbound] * 2
    )
    # All workers of Nginx count together, or each would have as many.
    zones = {name: upstreams[name].one("zone").split()[0] for name in names}
    assert list(zones.values()) == [f"slipway_upstream_{name[8:]}" for name in names]
    assert upstreams["slipway_app2"].all("zone") == []

    (https,) = (found for found in whole.within if found.all("ssl_certificate"))
    asked = {path: block.all("proxy_pass") for path, block in https.blocks("location").items()}
    assert asked["/"] == ["http://slipway_app0$slipway_open"]
    assert asked["/events/"] == asked["= /events"] == ["http://slipway_app0.open"]
    assert asked["/b/"] == ["http://slipway_app1$slipway_open$slipway_rest"]
    assert asked["/c/"] == ["http://slipway_app2"]


def test_no_application_has_the_name_of_a_zone_of_ours(host: Host) -> None:
    given = sites({"name": "clients", "max_in_flight": 8})
    zones = [
        block.one("zone") for block in site(host, nginx_sites=given).blocks("upstream").values()
    ]
    (ours,) = (
        each for each in shared(host).all("limit_conn_zone") if "zone=slipway_clients:" in each
    )
    assert ours and not [each for each in zones if each.startswith("slipway_clients ")]


def test_of_several_servers_each_has_a_bound_of_its_own(host: Host) -> None:
    servers = [
        {"name": "a", "address": "10.0.0.1:8000", "max_in_flight": 256},
        {"name": "b", "address": "10.0.0.2:8000", "max_in_flight": 128, "backup": True},
    ]
    upstreams = site(host, nginx_sites=balanced(servers=servers)).blocks("upstream")
    limits = "weight=1 max_fails=1 fail_timeout=10s"
    assert upstreams["slipway_app0"].all("server") == [
        f"10.0.0.1:8000 {limits} max_conns=256",
        f"10.0.0.2:8000 {limits} max_conns=128 backup",
    ]
    assert upstreams["slipway_app0.open"].all("server") == [
        f"10.0.0.1:8000 {limits}",
        f"10.0.0.2:8000 {limits} backup",
    ]


@pytest.mark.parametrize(
    ("source", "said", "found"),
    [
        ("$http_upgrade $slipway_open", "websocket", ".open"),
        ("$http_upgrade $slipway_open", "WebSocket", ".open"),
        ("$http_upgrade $slipway_open", "", ""),
        ("$http_upgrade $slipway_open", "h2c, websocket", ""),
        ("$upstream_addr $slipway_refused", "slipway_board", "1"),
        ("$upstream_addr $slipway_refused", "slipway_a-b_c", "1"),
        ("$upstream_addr $slipway_refused", "slipway_board.open", "1"),
        ("$upstream_addr $slipway_refused", "unix:/srv/board/live/app.sock", ""),
        # One has failed, and there was no other to ask.
        ("$upstream_addr $slipway_refused", "10.0.0.1:8000, slipway_board", ""),
        ("$upstream_addr $slipway_refused", "", ""),
    ],
)
def test_what_is_not_counted_and_what_was_refused(
    host: Host, source: str, said: str, found: str
) -> None:
    assert first_match(shared(host).blocks("map")[source], said) == found


def test_what_is_refused_is_a_503_and_what_fails_a_502(host: Host) -> None:
    _, https = servers(host)
    pages = "/.slipway/error/page.$slipway_maintenance_kind"
    assert "502 = @slipway_gateway" in https.all("error_page")
    gateway = https.blocks("location")["@slipway_gateway"]
    assert gateway.blocks("if")["($slipway_refused)"].one("return") == "503"
    assert gateway.one("return") == "502"
    # Of its own, since 503 is maintenance elsewhere; and an error page that leads to another.
    assert gateway.one("error_page") == f"502 503 {pages}"
    assert https.one("recursive_error_pages") == "on"
    assert https.blocks("location")["/.slipway/error/"].one("recursive_error_pages") == "off"
    texts = shared(host).blocks("map")["$status $slipway_error_text"]
    assert "more to do" in texts.one("503") and "not answer" in first_match(texts, "502")
    assert first_match(shared(host).blocks("map")["$status $slipway_retry_after"], "503") == "5"


def test_what_errors_say_is_a_page_or_a_problem_that_nginx_can_hold(host: Host) -> None:
    pages = shared(host).blocks("map")["$slipway_maintenance_kind $slipway_error_page"]
    assert pages.one("default").startswith("<!doctype html>")
    problem = json.loads(pages.one("json").replace("$status", "503"))
    assert problem.pop("request_id").startswith("$")
    assert problem == {
        "type": "about:blank",
        "title": "$slipway_error_title",
        "status": 503,
        "detail": "$slipway_error_text",
    }
    assert max(len(pages.one(kind).encode()) for kind in ("default", "json")) < 4096


def test_who_is_let_in_during_maintenance_is_looked_for_only_then(host: Host) -> None:
    _, https = servers(host)
    looked = [condition for condition in https.blocks("if") if condition.startswith("(-f ")]
    on, *let_in = (condition.strip("()").split()[1] for condition in looked)
    assert on.endswith("/on")
    assert {f"{name} " for name in let_in} <= set(https.all("set"))
    while_on = dict(each.split() for each in https.blocks("if")[looked[0]].all("set"))
    assert while_on.pop("$slipway_closed_1") == "1"
    assert while_on.keys() == set(let_in) and len(let_in) == 4
    assert all(path.startswith(f"{on[:-3]}/allow/$") for path in while_on.values())


def test_the_application_is_told_the_truth_about_the_client(host: Host) -> None:
    _, https = servers(host)
    assert https.blocks("location")["/"].one("proxy_pass") == "http://slipway_shop"
    assert https.one("proxy_http_version") == "1.1"
    assert dict(header.split(" ", 1) for header in https.all("proxy_set_header")) == {
        "Host": "$host",
        "Connection": "$slipway_connection",
        "Upgrade": "$http_upgrade",
        "X-Forwarded-For": "$remote_addr",
        "X-Forwarded-Proto": "$scheme",
        "X-Forwarded-Host": "$host",
        "X-Forwarded-Prefix": "$slipway_prefix",
        "X-Real-IP": "$remote_addr",
        "X-Accel-Mapping": "$slipway_accel",
        "Forwarded": "",
        "X-Request-ID": "$request_id",
    }
    upgrade = shared(host).blocks("map")["$http_upgrade $slipway_connection"]
    # An empty text, which has no arguments here, is what lets a connection be kept.
    assert {f.name: f.arguments for f in upgrade.within} == {"default": ["upgrade"], "": [""]}


def test_static_files_are_served_from_the_live_release_and_else_from_those_beside_it(
    host: Host,
) -> None:
    location = servers(host)[1].blocks("location")["/assets/"]
    # A slash at the end, or /assets../ would lead out of the folder.
    assert location.one("rewrite") == "(?s)^/assets/(.*)$ /$1 break"
    assert location.one("root") == "/srv/shop"
    assert location.one("try_files").split() == [
        "/live/release/static$uri",
        "/slots/blue/release/static$uri",
        "/slots/green/release/static$uri",
        "=404",
    ]
    # A release is seen as soon as Nginx has left the application before it.
    assert location.one("open_file_cache_valid") == "1s"


@pytest.mark.parametrize("item", [SHOP, DESK])
def test_a_location_with_a_header_of_its_own_has_all_the_others(host: Host, item: str) -> None:
    # add_header is inherited only where there is none.
    _, https = servers(host, item)
    everyone = https.all("add_header")
    assert "X-Request-ID $request_id always" in everyone
    assert len(everyone) > 7
    found = [each for each in https.blocks("location").values() if each.all("add_header")]
    assert found
    for location in found:
        assert location.all("add_header")[-len(everyone) :] == everyone


@pytest.mark.parametrize("item", [SHOP, DESK])
def test_files_are_served_with_their_compressed_sibling_and_caches_are_told(
    host: Host, item: str
) -> None:
    _, https = servers(host, item)
    for directive in ("gzip_static", "brotli_static", "gzip_vary"):
        assert https.one(directive) == "on"


def test_an_application_without_static_files_is_asked_for_everything(host: Host) -> None:
    assert list(servers(host, HELLO)[1].blocks("location")) == [*OURS, "/"]


def test_applications_of_one_domain_are_one_site(host: Host) -> None:
    whole = site(host, DESK)
    assert whole.blocks("upstream").keys() == {"slipway_desk", "slipway_till", "slipway_old"}
    for found in servers(host, DESK):
        assert found.one("server_name") == "desk.test"
    assert servers(host, DESK)[1].one("ssl_certificate") == "/etc/slipway/tls/desk/fullchain.pem"


# A location, and the application that is asked there; None for files, or where no application is asked.
@pytest.mark.parametrize(
    ("location", "app"),
    [
        ("/", None),
        ("/api/", "desk"),
        ("= /api", "desk"),
        ("/ws/", "desk"),
        ("= /ws", "desk"),
        ("= /till-1.x", None),
        ("/till-1.x/", None),
        ("/till-1.x/static/", None),
        ("/till-1.x/api/", "till"),
        ("= /till-1.x/api", "till"),
        ("/old/", "old"),
        ("= /old", "old"),
    ],
)
def test_each_path_leads_to_its_application(host: Host, location: str, app: str | None) -> None:
    asked = servers(host, DESK)[1].blocks("location")[location].all("proxy_pass")
    assert [to.removesuffix("$slipway_rest") for to in asked] == (
        [f"http://slipway_{app}"] if app else []
    )


def test_there_is_no_location_but_those(host: Host) -> None:
    assert len(servers(host, DESK)[1].blocks("location")) == 15


@pytest.mark.parametrize("item", [SHOP, HELLO, DESK])
def test_no_location_has_headers_of_its_own_for_the_application(host: Host, item: str) -> None:
    # It would inherit none of the others.
    for location in servers(host, item)[1].blocks("location").values():
        assert location.all("proxy_set_header") == location.all("proxy_hide_header") == []


def first_match(block: Directive, text: str) -> str:
    """Return what a map says of a text, as Nginx finds it: the first expression that matches, else the default."""
    for directive in block.within:
        flags = re.IGNORECASE if directive.name.startswith("~*") else re.NOFLAG
        match = directive.name.startswith("~") and re.search(
            directive.name.lstrip("~*"), text, flags
        )
        if match:
            return match.expand(re.sub(r"\$(\d)", r"\\\1", " ".join(directive.arguments)))
    return block.one("default")


def rest(host: Host, prefix: str, request_uri: str) -> str:
    """Return what the map for prefixes says of a request."""
    prefixed = shared(host).blocks("map")["$slipway_prefix $request_uri $slipway_rest"]
    return first_match(prefixed, f"{prefix} {request_uri}")


@pytest.mark.parametrize(
    ("request_uri", "asked"),
    [
        ("/till-1.x/", "/"),
        ("/till-1.x/api", "/api"),
        ("/till-1.x/api?q=%2F", "/api?q=%2F"),
        ("/till-1.x/a%2Fb%20c//d", "/a%2Fb%20c//d"),
        ("/till-1.x//a", "//a"),
        ("/till-1.x/a..b/...c/.d/e.?f=/../g", "/a..b/...c/.d/e.?f=/../g"),
        ("/till-1.x/%0d%0aX:y", "/%0d%0aX:y"),
        # Nothing: Nginx's own idea of the path is passed on.
        ("/%74ill-1.x/a%2Fb", ""),
        ("//till-1.x/a", ""),
        ("/./till-1.x/a", ""),
        ("/old/../till-1.x/a", ""),
        ("/till-1.x/a/../b", ""),
        ("/till-1.x/a/%2e%2E/b", ""),
        ("/till-1.x/a%2F..%2fb", ""),
        ("/till-1.x/a/..", ""),
        ("/till-1.x/.?q", ""),
        ("/till-1yx/a", ""),
        ("/till-1.xy/a", ""),
    ],
)
def test_a_prefix_is_taken_off_and_the_rest_is_left_to_the_letter(
    host: Host, request_uri: str, asked: str
) -> None:
    assert rest(host, "/till-1.x", request_uri) == asked


def test_where_the_letters_do_not_serve_the_path_as_nginx_reads_it_is_passed_on(host: Host) -> None:
    for location in ("/till-1.x/api/", "= /till-1.x/api"):
        found = servers(host, DESK)[1].blocks("location")[location]
        assert found.all("set")[1] == "$slipway_prefix /till-1.x"
        assert found.one("proxy_pass") == "http://slipway_till$slipway_rest"
        pattern, replacement, flag = found.one("rewrite").split()
        assert (replacement, flag) == ("$1", "break")
        # (?s), since a path may well have a newline in it once it is decoded.
        assert re.sub(pattern, r"\1", "/till-1.x/api/a\nb") == "/api/a\nb"
        assert not re.search(pattern, "/till-1yx/api/")


def test_a_path_that_is_not_taken_off_is_left_alone(host: Host) -> None:
    for location in ("/old/", "= /old"):
        found = servers(host, DESK)[1].blocks("location")[location]
        assert [directive.name for directive in found.within] == ["set", "if", "proxy_pass"]
        assert found.one("proxy_pass") == "http://slipway_old"
    # Which tells the application of no prefix either.
    assert shared(host).blocks("map")[" $slipway_prefix"].one("default") == ""


@pytest.mark.parametrize("port", [443, 8443])
def test_a_path_without_its_slash_leads_to_the_one_with_it(host: Host, port: int) -> None:
    _, https = servers(host, DESK, nginx_https_port=port)
    moved = https.blocks("location")["= /till-1.x"]
    # Without a port or a name: the client keeps those that it has come by.
    assert moved.one("return") == "308 /till-1.x/$is_args$args"
    assert https.one("absolute_redirect") == "off"


@pytest.mark.parametrize(
    ("location", "folder"),
    [
        ("/", "/srv/desk"),
        ("/till-1.x/", "/srv/till"),
    ],
)
def test_a_front_end_answers_what_is_no_file_with_its_page(
    host: Host, location: str, folder: str
) -> None:
    found = servers(host, DESK)[1].blocks("location")[location]
    # No folder as such, which would be listed or forbidden, and no redirection, which could go round in circles.
    # What is no longer there comes from the releases beside it, before the page answers.
    assert found.one("root") == folder
    assert found.one("try_files").split() == [
        "/live/release/frontend$uri",
        "/live/release/frontend$uri/index.html",
        "/slots/blue/release/frontend$uri",
        "/slots/green/release/frontend$uri",
        "/live/release/frontend/index.html",
        "=404",
    ]
    pattern, replacement, _ = found.one("rewrite").split()
    assert (re.sub(pattern, r"\1", f"{location}a/b"), replacement) == ("a/b", "/$1")


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("/srv/shop/live/release/frontend/index.html", "no-cache"),
        ("/shop/docs//index.html", "no-cache"),
        ("/app.js", "short"),
        ("/a.html.js", "short"),
        ("/jquery-3.7.1.min.js", "short"),
        ("/icon-1024x768.png", "short"),
        ("/report-20240115.pdf", "short"),
        ("/report-2024rev1.pdf", "short"),
        ("/some-document.js", "short"),
        ("/the-headlong.css", "short"),
        ("/decade.css", "short"),
        ("/3f2a9c1b/app.js", "short"),
        ("/main.3f2a9c1b.js", "immutable"),  # webpack
        ("/main.3f2a9c1b.js.map", "immutable"),
        ("/main.3f2a9c1b.chunk.css", "immutable"),
        ("/css/base.5af66c1b1797.css", "immutable"),  # Django's manifest
        ("/assets/index-BZ3dHmYw.js", "immutable"),  # Vite
        ("/assets/index-D_3-Hm0w.css", "immutable"),
        ("/app-N2FXWQ7T.js", "immutable"),  # esbuild
    ],
)
def test_a_name_with_a_digest_is_kept_for_a_year_and_a_page_asked_for_each_time(
    host: Host, uri: str, told: str
) -> None:
    kept = shared(host, nginx_static_max_age=60).blocks("map")["$uri $slipway_files_cache"]
    said = {
        "no-cache": "no-cache",
        "short": "public, max-age=60",
        "immutable": "public, max-age=31536000, immutable",
    }
    assert first_match(kept, uri) == said[told]


def test_an_applications_own_headers_come_in_place_of_its_answers_and_of_the_defaults(
    host: Host,
) -> None:
    own = {"X-Frame-Options": "", "Content-Security-Policy": "default-src https:", "X-Own": "1"}
    alone = f"{{{{ nginx_sites[0] | combine({{'apps': [nginx_sites[0].apps[0] | combine({{'headers': {own}}})]}}) }}}}"
    both = alone.replace("})]})", "}), nginx_sites[1].apps[0] | combine({'path': '/hello'})]})")
    assert both != alone
    for item in (alone, both):
        _, https = servers(host, item)
        # What a site has of its own location it has of the whole, if the application is alone there.
        site_wide = https.all("add_header"), https.all("proxy_hide_header")
        for location in ("/", "/assets/"):
            within = https.blocks("location")[location]
            said = within.all("add_header") or site_wide[0]
            assert "Content-Security-Policy default-src https: always" in said
            assert "X-Own 1 always" in said
            assert not [each for each in said if each.startswith("X-Frame-Options")]
            assert "X-Request-ID $request_id always" in said
        hidden = https.blocks("location")["/"].all("proxy_hide_header") or site_wide[1]
        assert set(hidden) == {"X-Request-ID", "X-Powered-By", *own}
    assert "X-Own 1 always" not in site_wide[0]


def test_a_default_header_gives_way_to_the_applications(host: Host) -> None:
    maps = shared(host).blocks("map")
    _, https = servers(host, HELLO)
    given = [each.split() for each in https.all("add_header") if "$slipway_header_" in each]
    assert len(given) == 7
    for name, variable, _ in given:
        header = name.lower().replace("-", "_")
        default = maps[f"$upstream_http_{header} {variable}"]
        assert default.one("default") == ""
        assert default.one("")


@pytest.mark.parametrize("seconds", [0, 63072000])
def test_hsts_is_said_where_it_is_wanted(host: Host, seconds: int) -> None:
    item = f"{{{{ nginx_sites[1] | combine({{'hsts': {seconds}}}) }}}}"
    http, https = servers(host, item)
    said = [each for each in https.all("add_header") if each.startswith("Strict-")]
    assert said == ([f"Strict-Transport-Security max-age={seconds} always"] if seconds else [])
    assert http.all("add_header") == []


@pytest.mark.parametrize("stapling", [False, True])
def test_revocation_is_stapled_where_it_is_wanted(host: Host, stapling: bool) -> None:
    item = f"{{{{ nginx_sites[1] | combine({{'stapling': {stapling}}}) }}}}"
    _, https = servers(host, item)
    assert https.all("ssl_stapling") == (["on"] if stapling else [])


@pytest.mark.parametrize(
    ("item", "location"),
    [(SHOP, "/assets/"), (DESK, "/"), (DESK, "/till-1.x/"), (DESK, "/till-1.x/static/")],
)
def test_hidden_files_are_not_served(host: Host, item: str, location: str) -> None:
    ((argument, hidden),) = (
        servers(host, item)[1].blocks("location")[location].blocks("location").items()
    )
    assert hidden.one("return") == "404"
    pattern = argument.removeprefix("~ ")
    for uri in ("/.env", "/.git/config", "/a/.b", "/.well-known", "/.well-knowns/a"):
        assert re.search(pattern, uri), uri
    for uri in ("/index.html", "/a.b/c.d", "/.well-known/security.txt"):
        assert not re.search(pattern, uri), uri


def test_a_site_without_an_application_at_its_root_does_not_show_debians_welcome(
    host: Host,
) -> None:
    only = "{{ nginx_sites[2] | combine({'apps': nginx_sites[2].apps[2:]}) }}"
    _, https = servers(host, only)
    assert https.blocks("location").keys() == {*OURS, "/old/", "= /old", "/"}
    assert https.blocks("location")["/"].one("return") == "404"


@pytest.mark.parametrize("item", [SHOP, HELLO, DESK])
def test_each_location_of_an_application_is_closed_by_its_own_file_alone(
    host: Host, item: str
) -> None:
    _, https = servers(host, item)
    # What the file of each application sets, before there is a location: {"desk": "$slipway_closed_1"}.
    variables = {
        Path(files.strip("()").split()[-1]).parent.name: found.all("set")[0].split()[0]
        for files, found in https.blocks("if").items()
        if files.endswith("/on)")
    }
    for path, location in https.blocks("location").items():
        if path in OURS:
            continue
        # Before anything else is done there, such as taking the prefix off.
        page, closed = location.within[:2]
        assert closed.name == "if", path
        (of,) = (app for app, name in variables.items() if closed.arguments == [f"({name})"])
        assert closed.one("return") == "503"
        assert (page.name, page.arguments) == ("set", ["$slipway_page", f"maintenance/{of}"])
        leads = "".join(location.all("proxy_pass") + location.all("root") + location.all("return"))
        assert of in leads or leads == "308 /till-1.x/$is_args$args"


def test_the_page_of_maintenance_is_not_kept_and_says_when_to_come_back(host: Host) -> None:
    _, https = servers(host, nginx_maintenance_retry_after=60)
    page = https.blocks("location")["/.slipway/maintenance/"]
    assert page.all("internal") == [""]
    assert page.one("alias") == "/var/lib/slipway/maintenance/"
    assert page.all("add_header")[:3] == [
        "Retry-After 60 always",
        "Cache-Control no-store always",
        "Vary Accept always",
    ]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "html"),
        ("*/*", "html"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "html"),
        ("application/json", "json"),
        ("application/problem+json", "json"),
        ("application/vnd.api+json, */*;q=0.1", "json"),
        ("application/json, text/html;q=0.5", "html"),
        ("text/css,*/*;q=0.1", "html"),
    ],
)
def test_a_program_that_asks_for_json_gets_a_problem(host: Host, accept: str, kind: str) -> None:
    kinds = shared(host).blocks("map")["$http_accept $slipway_maintenance_kind"]
    assert first_match(kinds, accept) == kind


def addresses() -> Iterator[IPv4Address | IPv6Address]:
    """Yield addresses of all shapes, those with runs of zeros above all."""
    rare = Random(1)
    for _ in range(150):
        yield IPv4Address(rare.getrandbits(32))
        groups = [rare.choice([0, 0, 1, 0xDB8, rare.getrandbits(16)]) for _ in range(7)]
        yield IPv6Address(":".join(f"{group:x}" for group in [0x2001, *groups]))


def test_an_address_is_let_pass_by_the_networks_that_it_is_in_and_by_no_other(host: Host) -> None:
    maps = shared(host).blocks("map")
    seen = [maps[f"$remote_addr $slipway_network_{name}"] for name in ("wide", "middle", "near")]
    lengths = {4: (8, 16, 24), 6: (32, 48, 64)}
    for address in addresses():
        networks = [
            f"{ip_network(f'{address}/{n}', strict=False)}" for n in lengths[address.version]
        ]
        named = [
            Templar(DataLoader(), {"network": network}).template(
                trust_as_template("{{ network | slipway_maintenance_allowed | first }}")
            )
            for network in networks
        ]
        assert [first_match(block, str(address)) for block in seen] == named, address


def page(host: Host, message: str) -> str:
    """Return the page of maintenance."""
    template = "var/lib/slipway/maintenance/page.html.j2"
    return host.render("nginx", template, nginx_maintenance_message=message)


def test_the_page_needs_nothing_else_and_a_message_is_text(host: Host) -> None:
    text = page(host, "Back at 14:00 <script>alert(1)</script> & more")
    assert "Back at 14:00 &lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in text
    assert not re.search(r"(src|href)=\"[^\"]|url\(|@import|<script", text)
    for part in (
        '<html lang="en">',
        "<title>",
        "<main>",
        "<h1>",
        "width=device-width",
        "prefers-color-scheme: dark",
    ):
        assert part in text, part
    assert "few minutes" in page(host, "") and "few minutes" not in text


def luminance(colour: str) -> float:
    """Return the relative luminance of #rgb or #rrggbb (WCAG 2)."""
    digits = colour.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_page_can_be_read_in_light_and_dark(host: Host) -> None:
    schemes = re.findall(r":root \{([^}]*)\}", page(host, ""))
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--([\w-]+): (#\w+);", scheme))
        for ink, paper in (("ink", "card"), ("quiet", "card"), ("on-accent", "accent")):
            light, dark = sorted((luminance(colours[ink]), luminance(colours[paper])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, paper)


def refusals(host: Host, **variables: Any) -> list[str]:
    """Return what the preflight has against a list of sites."""
    messages = []
    tasks: Any = read(ROOT / "roles/nginx/tasks/preflight.yml")
    for task in tasks:
        if "loop" not in task:
            continue  # it is about the host
        check = task["ansible.builtin.assert"]
        given = host.variables("nginx") | task["vars"] | trusted(variables)
        for item in Templar(DataLoader(), given).template(task["loop"]):
            templar = Templar(DataLoader(), given | {"item": item})
            if not templar.template(trust_as_template(f"{{{{ {check['that']} }}}}")):
                messages.append(str(templar.template(check["fail_msg"])))
    return messages


def sites(*apps: dict[str, Any], **given: Any) -> list[dict[str, Any]]:
    """Return a list of one site."""
    filled = [
        {"name": f"app{number}", "upstream": "unix:/x"} | app for number, app in enumerate(apps)
    ]
    common = {"name": "one", "domains": ["one.test"], "certificate": "/c", "key": "/k"}
    return [{**common, "apps": filled, **given}]


def test_the_preflight_has_nothing_against_what_the_inventory_says(host: Host) -> None:
    assert refusals(host) == []
    assert refusals(host, nginx_sites=[], nginx_absent_sites=["gone"]) == []


FRONT = {"frontend": {"path": "/f", "api": ["/api/"]}}


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"nginx_sites": sites({}, {})}, ["/ of the site one", "app0, app1", "path"]),
        ({"nginx_sites": sites({"path": "/a"}, {"path": "/a"})}, ["/a/ of the site one"]),
        ({"nginx_sites": sites(FRONT, {"path": "/api"})}, ["/api/ of the site one"]),
        (
            {"nginx_sites": sites({"path": "/a"}, {"static": {"url": "/a/", "path": "/s"}})},
            ["/a/ of the site one", "static.url"],
        ),
        ({"nginx_sites": sites({"name": "B"})}, ["apps[].name", '"B"', "lower-case letter"]),
        ({"nginx_sites": sites({}, name="a;b")}, ["nginx_sites[].name", '"a;b"']),
        ({"nginx_absent_sites": ["../x"]}, ["nginx_absent_sites", '"../x"']),
        ({"nginx_sites": sites({}, domains=["A.test"])}, ["domains", '"A.test"', "host names"]),
        ({"nginx_sites": sites({}, domains=[])}, ["domains", "at least one"]),
        ({"nginx_sites": sites({"path": "/"})}, ["path", '"/"', "such as /shop"]),
        ({"nginx_sites": sites({"path": "shop"})}, ["path", '"shop"']),
        ({"nginx_sites": sites({"path": "/shop/"})}, ["path", '"/shop/"']),
        ({"nginx_sites": sites({"path": "/a/../b"})}, ["path", '"/a/../b"']),
        ({"nginx_sites": sites({"path": "/a b"})}, ["path", '"/a b"']),
        (
            {"nginx_sites": sites({"static": {"url": "/s", "path": "/s"}})},
            ["static.url", '"/s"', "slash at both ends"],
        ),
        (
            {"nginx_sites": sites({"frontend": {"path": "/f", "api": ["api/"]}})},
            ["frontend.api", '"api/"'],
        ),
        ({"nginx_sites": sites({}) + sites({"name": "b"}, domains=["two.test"])}, ["one twice"]),
        ({"nginx_sites": sites({}) + sites({"name": "b"}, name="two")}, ["one.test twice"]),
        (
            {"nginx_sites": sites({}) + sites({}, name="two", domains=["two.test"])},
            ["app0 twice"],
        ),
        ({"nginx_sites": sites({}), "nginx_absent_sites": ["one"]}, ["one twice", "absent"]),
        (
            {"nginx_sites": sites({"servers": [{"name": "a", "address": "10.0.0.1:80"}]})},
            ['"app0"', "either upstream or servers"],
        ),
        (
            {"nginx_sites": balanced(servers=[{"name": "a", "address": "vm1:80"}])},
            ["servers[].address", '"vm1:80"', "IP address with a port"],
        ),
    ],
)
def test_what_can_not_be_is_refused(
    host: Host, variables: dict[str, Any], words: list[str]
) -> None:
    (message,) = refusals(host, **variables)
    for word in ["host1", *words]:
        assert word in message


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


def test_a_route_has_its_settings_and_a_site_without_any_has_none(host: Host) -> None:
    _, https = servers(host, FEED)
    locations = https.blocks("location")
    for path in ("/upload/", "= /upload"):
        assert locations[path].one("client_max_body_size") == "2g"
        assert locations[path].one("proxy_request_buffering") == "off"
        assert locations[path].one("proxy_read_timeout") == "300s"
    assert "= /events" not in locations
    assert locations["/events/"].one("proxy_buffering") == "off"
    assert locations["/"].one("client_max_body_size") == "1m"
    for path in ("/login/", "= /login"):
        assert locations[path].one("limit_req") == "zone=slipway_rate_feed_5 burst=2 nodelay"
        assert locations[path].all("set")[1] == "$slipway_wait 12"
        # Those of the site, which would else not be inherited.
        assert "slipway_clients 256" in locations[path].all("limit_conn")
    for found in locations.values():
        assert not found.all("add_header") or "X-Request-ID $request_id always" in found.all(
            "add_header"
        )
    assert "proxy_cache" not in str(servers(host, SHOP)[1])


def test_a_path_is_open_to_those_alone_who_are_allowed_there(host: Host) -> None:
    _, https = servers(host, FEED)
    locations = https.blocks("location")
    for path in ("/metrics/", "= /metrics"):
        assert locations[path].all("allow") == ["127.0.0.1", "::1"]
        assert locations[path].all("deny") == ["all"]
    others = [found for path, found in locations.items() if "metrics" not in path]
    assert not [found for found in others if found.all("deny")]


def test_files_that_an_application_decides_about_are_not_asked_for(host: Host) -> None:
    _, https = servers(host, FEED)
    locations = https.blocks("location")
    files = locations["/vault/.files/"]
    assert [each.name for each in files.within][:2] == ["internal", "alias"]
    assert files.one("alias") == "/srv/vault/shared/papers/2026/"
    # What the application has said of them, and else what all answers have.
    added = files.all("add_header")
    assert "X-Content-Type-Options $slipway_header_sniff always" in added
    assert "X-Content-Type-Options $upstream_http_x_content_type_options always" in added
    assert "X-Request-ID $request_id always" in added
    # It alone is told where they are, and nobody can tell it in Nginx's place.
    assert "X-Accel-Mapping $slipway_accel" in https.all("proxy_set_header")
    told = {path: found.all("set") for path, found in locations.items()}
    mapping = "$slipway_accel /srv/vault/shared/papers/2026/=/vault/.files/"
    assert [path for path, given in told.items() if mapping in given] == ["/vault/"]
    empty = [f for f in shared(host).within if f.arguments[-1:] == ["$slipway_accel"]]
    assert [found.all("default") for found in empty] == [[""]]


def test_a_balancer_is_believed_only_where_it_is_named(host: Host) -> None:
    _, https = servers(host)
    assert https.all("real_ip_header") == https.all("set_real_ip_from") == []

    given: dict[str, Any] = {"nginx_trusted_proxies": ["10.0.0.0/8"]}
    _, https = servers(host, **given)
    assert https.all("set_real_ip_from") == ["10.0.0.0/8"]
    assert https.one("real_ip_header") == "X-Forwarded-For"
    assert "X-Forwarded-Proto $slipway_scheme" in https.all("proxy_set_header")
    assert "X-Request-ID $slipway_request_id" in https.all("proxy_set_header")
    schemes = shared(host, **given).blocks("map")[
        "$slipway_trusted $http_x_forwarded_proto $slipway_scheme"
    ]
    assert {d.name: d.arguments for d in schemes.within}["1 http"] == ["http"]

    http, https = servers(host, **given, nginx_proxy_protocol=True)
    for found in (http, https):
        assert all(listen.endswith(" proxy_protocol") for listen in found.all("listen"))
    assert https.one("real_ip_header") == "proxy_protocol"


def test_an_authority_is_answered_by_http_where_it_will_ask(host: Host) -> None:
    item = {**MORE, "challenges": "/var/lib/w"}
    for server in (f for f in site(host, item).within if f.name == "server"):  # type: ignore[arg-type]
        if "ssl" in server.all("listen")[0] or "quic" in " ".join(server.all("listen")):
            continue
        location = server.blocks("location")["^~ /.well-known/acme-challenge/"]
        assert location.one("root") == "/var/lib/w"
        assert server.all("return") == []  # it would come before any location
        assert server.blocks("location")["/"].one("return").startswith("301 https://")


def test_another_name_is_redirected_by_both_schemes(host: Host) -> None:
    both = [
        f
        for f in site(host, MORE, nginx_https_port=8443).within  # type: ignore[arg-type]
        if f.name == "server" and f.one("server_name") == "www.more.test"
    ]
    assert len(both) == 2
    for server in both:
        within = server if server.all("return") else server.blocks("location")["/"]
        assert within.one("return") == "301 https://more.test:8443$request_uri"
        (other,) = within.blocks("if").values()
        assert other.one("return") == "308 https://more.test:8443$request_uri"


MORE = {
    "name": "more",
    "domains": ["more.test"],
    "redirect_from": ["www.more.test"],
    "certificate": "/c",
    "key": "/k",
    "apps": [{"name": "more", "upstream": "unix:/x"}],
}
