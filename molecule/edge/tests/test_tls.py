"""TLS as Mozilla has it, sessions that are taken up again, HTTP/2 and HTTP/3, and no answer for strangers."""

from __future__ import annotations

import socket
import ssl

import httpx
import pytest
from tests.stack import Stack

DEBIAN_13 = "13"


def debian(stack: Stack) -> str:
    """Return the host's release of Debian."""
    return str(stack.host.system_info.release)[:2]


def asked(stack: Stack, context: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLSocket:
    """Return a connection that has had an answer, and so what it takes to take its session up again."""
    connection = socket.create_connection((stack.address, 443), timeout=10)
    tls = context.wrap_socket(connection, server_hostname="edge.test", session=session)
    tls.sendall(b"GET /up HTTP/1.1\r\nHost: edge.test\r\nConnection: close\r\n\r\n")
    assert b" 200 " in tls.recv(65536)
    return tls


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_taken_up_again(stack: Stack, version: ssl.TLSVersion) -> None:
    context = stack.context(minimum_version=version, maximum_version=version)
    with asked(stack, context, None) as first:
        assert not first.session_reused
        session = first.session
    with asked(stack, context, session) as second:
        assert second.session_reused


def test_the_key_exchange_is_the_best_that_the_host_has(stack: Stack) -> None:
    said = stack.run("echo Q | openssl s_client -connect 127.0.0.1:443 -servername edge.test 2>&1")
    assert ("X25519MLKEM768" if debian(stack) == DEBIAN_13 else "Server Temp Key: X25519") in said


def test_an_older_cipher_is_refused(stack: Stack) -> None:
    context = stack.context(maximum_version=ssl.TLSVersion.TLSv1_2)
    # Without authenticated encryption, and without a new key for each session.
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA:AES128-GCM-SHA256")
    with (
        socket.create_connection((stack.address, 443), timeout=10) as connection,
        pytest.raises(ssl.SSLError, match=r"(?i)handshake[ _]failure"),
    ):
        context.wrap_socket(connection, server_hostname="edge.test")


def test_the_bare_address_gets_neither_a_certificate_nor_an_answer(stack: Stack) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((stack.address, 443), timeout=10) as connection,
        pytest.raises(ssl.SSLError, match=r"(?i)unrecognized[ _]name"),
    ):
        context.wrap_socket(connection)
    with pytest.raises(httpx.RemoteProtocolError):
        stack.get(f"http://{stack.address}/")


def test_a_strangers_name_over_a_connection_of_ours_is_misdirected(stack: Stack) -> None:
    answer = stack.get("https://edge.test/up", headers={"Host": "stranger.test"})
    assert answer.status_code == 421


def test_http_3_is_spoken_where_it_is_advertised(stack: Stack, clients: Stack) -> None:
    advertised = stack.get("https://edge.test/up").headers.get("Alt-Svc")
    if debian(stack) != DEBIAN_13:
        assert advertised is None
        return
    assert advertised == 'h3=":443"; ma=86400'

    def ask(name: str, path: str) -> tuple[int, str]:
        done = clients.host.run(
            f"curl --silent --http3-only --cacert {stack.name}.pem --resolve {name}:443:{stack.address} "
            f"--write-out ' HTTP/%{{http_version}} %{{http_code}}' https://{name}{path}"
        )
        return done.rc, done.stdout

    served = stack.get("https://edge.test/static/style.css").text
    assert ask("edge.test", "/static/style.css") == (0, f"{served} HTTP/3 200")
    code, seen = ask("edge.test", "/seen")
    assert code == 0 and '"scheme":"https"' in seen and seen.endswith(" HTTP/3 200")
    assert "HTTP/3.0" in stack.run("grep -h '\"/seen\"' /var/log/nginx/edge.json.log | tail -n 1")
    assert ask("stranger.test", "/")[0] != 0


def test_http_2_is_spoken(stack: Stack) -> None:
    assert stack.get("https://edge.test/up").http_version == "HTTP/2"
