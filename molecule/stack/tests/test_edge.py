"""What a client sees: certificates, protocols, redirects, static files, and nothing for names that are not ours."""

from __future__ import annotations

import json
import socket
import ssl

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from tests.stack import STYLE, Stack


def handshake(stack: Stack, name: str, **limits: ssl.TLSVersion) -> tuple[str | None, bytes]:
    """Return the TLS version and the certificate (DER) that a host name gets."""
    context = stack.context(**limits)
    with (
        socket.create_connection((stack.address, 443), timeout=10) as connection,
        context.wrap_socket(connection, server_hostname=name) as tls,
    ):
        certificate = tls.getpeercert(binary_form=True)
        assert certificate is not None
        return tls.version(), certificate


@pytest.mark.parametrize("name", ["board.test", "www.board.test", "notes.test", "ping.test"])
def test_each_domain_has_a_certificate_of_the_authority(stack: Stack, name: str) -> None:
    _, der = handshake(stack, name)  # verifies chain and name
    certificate = x509.load_der_x509_certificate(der)
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days <= 397


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_is_1_2_or_1_3(stack: Stack, version: ssl.TLSVersion) -> None:
    assert handshake(stack, "board.test", minimum_version=version, maximum_version=version)[
        0
    ] == version.name.replace("_", ".")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_older_tls_is_refused(stack: Stack) -> None:
    context = stack.context(
        minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1
    )
    context.set_ciphers(
        "DEFAULT:@SECLEVEL=0"
    )  # else this machine's OpenSSL would refuse; an alert is the host's
    with (
        socket.create_connection((stack.address, 443), timeout=10) as connection,
        pytest.raises(ssl.SSLError, match=r"(?i)alert"),
    ):
        context.wrap_socket(connection, server_hostname="board.test")


def test_a_name_that_is_not_ours_gets_no_certificate(stack: Stack) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized[ _]name"):
        handshake(stack, "stranger.test")


def test_a_name_that_is_not_ours_gets_no_answer_by_http(stack: Stack) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        stack.get("http://stranger.test/")


def test_http_leads_to_https(stack: Stack) -> None:
    answer = stack.get("http://www.board.test/api/deployments?limit=1")
    assert answer.status_code == 301
    assert answer.headers["Location"] == "https://www.board.test/api/deployments?limit=1"


def test_http_2_is_spoken(stack: Stack) -> None:
    assert stack.get("https://board.test/readyz").http_version == "HTTP/2"


def test_the_server_does_not_tell_its_version(stack: Stack) -> None:
    assert stack.get("https://board.test/readyz").headers["Server"] == "nginx"


def test_static_files_are_compressed_cached_and_revalidated(stack: Stack) -> None:
    url = f"https://board.test{STYLE}"
    answer = stack.get(url, headers={"Accept-Encoding": "gzip"})
    assert answer.status_code == 200
    assert answer.headers["Content-Encoding"] == "gzip"
    # Its name has a digest of it.
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Content-Type"] == "text/css"
    assert "body" in answer.text
    again = stack.get(
        url, headers={"Accept-Encoding": "gzip", "If-None-Match": answer.headers["ETag"]}
    )
    assert again.status_code == 304
    assert "Content-Encoding" not in stack.get(url, headers={"Accept-Encoding": "identity"}).headers


@pytest.mark.parametrize(
    "path",
    [
        "/static/../src/alembic.ini",
        "/static/%2e%2e/src/alembic.ini",
        "/static../src/alembic.ini",
        "/static/nothing.css",
    ],
)
def test_static_files_are_no_way_to_others(stack: Stack, path: str) -> None:
    # Raw, since a client would tidy the path up before it sends it.
    assert stack.raw("board.test", f"GET {path} HTTP/1.1") in {400, 404}


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(stack: Stack) -> None:
    assert stack.raw("notes.test", "POST /seen HTTP/1.1", f"Content-Length: {11 << 20}") == 413


def test_the_application_sees_the_client_and_no_forgery(stack: Stack) -> None:
    mine = stack.run("sh -c 'echo $SSH_CONNECTION'").split()
    sent = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "http", "X-Request-ID": "forged"}
    answer = stack.get("https://notes.test/seen", headers=sent)
    seen = answer.json()
    assert seen["scheme"] == "https"
    assert seen["client"] != "6.6.6.6"
    assert seen["headers"]["x-forwarded-for"] == seen["client"]
    assert not mine or seen["client"] == mine[0]
    assert seen["headers"]["host"] == "notes.test"
    assert seen["headers"]["x-request-id"] == answer.headers["X-Request-ID"] != "forged"


def test_a_request_has_one_id_in_answer_and_log(stack: Stack) -> None:
    answer = stack.get("https://board.test/readyz?looked=for")
    (identifier,) = answer.headers.get_list("X-Request-ID")
    line = json.loads(stack.run(f"grep -h {identifier} /var/log/nginx/board.json.log"))
    assert (line["status"], line["method"], line["uri"], line["protocol"]) == (
        200,
        "GET",
        "/readyz?looked=for",
        "HTTP/2.0",
    )
    assert line["upstream_status"] == "200"


def test_websockets_are_passed_on(stack: Stack) -> None:
    with stack.websocket("wss://notes.test/echo") as socket_:
        for text in ("one", "zwei", "3" * 70_000):
            socket_.send(text)
            assert socket_.recv(timeout=10) == text


def test_connections_to_the_application_are_kept_but_not_for_long(stack: Stack) -> None:
    # The life that a release relies on: nginx reuses them, and has left them all within two seconds.
    count = "ss --no-header --unix state established src '*notes*' | wc -l"
    for _ in range(5):
        stack.get("https://notes.test/up")
    stack.run("sleep 2.5")
    assert int(stack.run(f'sh -c "{count}"')) == 0
