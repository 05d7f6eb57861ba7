"""What an owner may want otherwise for all sites: TLS 1.3 alone, and clients that no limit holds for."""

from __future__ import annotations

import ssl

import httpx
import pytest
from tests.stack import Configure, Stack, eventually


@pytest.mark.parametrize("stack", ["edge13"], indirect=True)
def test_tls_1_3_alone_and_clients_without_limits(stack: Stack, configured: Configure) -> None:
    def logins(number: int) -> list[int]:
        return [stack.request("POST", "https://edge.test/login").status_code for _ in range(number)]

    def handshake(version: ssl.TLSVersion) -> int:
        context = stack.context(minimum_version=version, maximum_version=version)
        with httpx.Client(verify=context) as client:
            more = {"sni_hostname": "edge.test"}
            url = f"https://{stack.address}/up"
            return client.get(url, headers={"Host": "edge.test"}, extensions=more).status_code

    assert 429 in logins(5)
    assert handshake(ssl.TLSVersion.TLSv1_2) == 200

    mine = f"{stack.client()}/32"
    configured(stack, nginx_tls_profile="modern", nginx_unlimited_networks=[mine])
    assert eventually(lambda: set(logins(10)) == {200}, 5)
    assert handshake(ssl.TLSVersion.TLSv1_3) == 200
    with pytest.raises(httpx.ConnectError, match=r"(?i)protocol[ _]version"):
        handshake(ssl.TLSVersion.TLSv1_2)


def test_many_requests_over_http_2_are_all_answered(stack: Stack, clients: Stack) -> None:
    said = clients.run(
        f"h2load --requests 10000 --clients 50 --max-concurrent-streams 4 --connect-to {stack.address}:443 "
        "https://plain.test/static/style.css"
    )
    assert "10000 succeeded, 0 failed, 0 errored, 0 timeout" in said, said
    assert "status codes: 10000 2xx" in said, said
