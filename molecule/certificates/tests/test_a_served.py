"""After one run on a bare host each site has the certificate that its key tls asks for."""

from __future__ import annotations

import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from tests.certificates import SCRATCH, Edge
from tests.stack import eventually


def names(certificate: x509.Certificate) -> list[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return sorted(found.value.get_values_for_type(x509.DNSName))


def test_http_01_gives_one_certificate_for_several_names(stack: Edge) -> None:
    certificate = stack.certificate("web", "pebble.pem")  # trusts no other
    wanted = [stack.domain(name) for name in ("other", "web", "www.web")]
    assert names(certificate) == wanted
    assert stack.certificate("other", "pebble.pem") == certificate
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"
    assert stack.answers() == 200


def test_dns_01_gives_a_wildcard(stack: Edge) -> None:
    certificate = stack.certificate("anything.wild", "pebble.pem")
    assert names(certificate) == sorted([stack.domain("*.wild"), stack.domain("wild")])
    assert stack.answers("anything.wild") == stack.answers("wild") == 200


def test_supplied_files_are_served(stack: Edge) -> None:
    supplied = x509.load_pem_x509_certificate((SCRATCH / "own.pem").read_bytes())
    assert stack.certificate("own", "root.pem") == supplied
    assert stack.answers("own") == 200


def test_what_its_authority_says_of_it_comes_along_where_there_is_a_responder(stack: Edge) -> None:
    def stapled(name: str) -> str:
        ask = f"-connect 127.0.0.1:443 -servername {stack.domain(name)} -status"
        return stack.run(f"echo Q | openssl s_client {ask} 2>/dev/null | grep 'OCSP '")

    # Nginx asks when the first client has come.
    assert eventually(lambda: "OCSP Response Status: successful" in stapled("own"), 10)
    assert "Cert Status: good" in stack.run(
        f"echo Q | openssl s_client -connect 127.0.0.1:443 -servername {stack.domain('own')} -status 2>/dev/null"
    )
    assert stapled("web") == stapled("near") == "OCSP response: no response sent\n"
    assert "stapling" not in stack.run("nginx -t 2>&1")


def test_the_others_are_of_the_hosts_own_authority(stack: Edge) -> None:
    stack.certificate("near", f"{stack.name}.pem")
    with pytest.raises(ssl.SSLCertVerificationError):
        stack.certificate("near", "pebble.pem")


def test_keys_are_roots_alone(stack: Edge) -> None:
    said = stack.run(
        "find -L /etc/slipway /var/lib/slipway/acme -name 'privkey*' -printf '%U:%m\\n'"
    )
    assert set(said.split()) == {"0:600"}


@pytest.mark.parametrize(
    ("scheme", "method", "status"),
    [("http", "GET", 301), ("https", "GET", 301), ("http", "POST", 308), ("https", "POST", 308)],
)
def test_another_name_leads_to_the_first(
    stack: Edge, scheme: str, method: str, status: int
) -> None:
    answer = stack.request(method, f"{scheme}://{stack.domain('www.web')}/a%20b?c=d")
    assert answer.status_code == status
    assert answer.headers["Location"] == f"https://{stack.domain('web')}/a%20b?c=d"


def test_a_challenge_is_answered_during_maintenance(stack: Edge) -> None:
    webroot = "/var/lib/slipway/acme/webroot/.well-known/acme-challenge"
    closed = "/var/lib/slipway/maintenance/web"
    stack.run(
        f"install -D -m 644 /etc/hostname {webroot}/token && "
        f"install -D -m 644 /etc/hostname {closed}/page.html && touch {closed}/on"
    )
    try:
        assert stack.answers() == 503
        for name in ("web", "www.web"):
            answer = stack.get(f"http://{stack.domain(name)}/.well-known/acme-challenge/token")
            assert (answer.status_code, answer.text.strip()) == (200, stack.name)
        away = stack.get(f"http://{stack.domain('web')}/.well-known/acme-challenge/none")
        assert away.status_code == 404
    finally:
        stack.run(f"rm -r {closed} {webroot}/token")


def test_another_certbot_is_left_alone(stack: Edge) -> None:
    assert stack.run("find /etc/letsencrypt -type f 2>/dev/null || true").strip() in (
        "",
        "/etc/letsencrypt/cli.ini",
    )
    assert stack.run("systemctl is-enabled slipway-acme.timer").strip() == "enabled"
