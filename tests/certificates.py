"""Edges with certificates from elsewhere: what they serve, runs with other variables, and the authority's DNS."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cryptography import x509
from tests.load import Traffic, probed
from tests.stack import ROOT, Stack, eventually, play

SCRATCH = ROOT / ".slipway/certificates"
INVENTORY = ROOT / "molecule/certificates/inventory"
NAMES = ("cert13", "cert12")


class Edge(Stack):
    """One of the scenario's edges."""

    def domain(self, name: str) -> str:
        """Return a host name of this edge."""
        return f"{name}.{self.name}.test"

    def certificate(self, name: str, authority: str = "") -> x509.Certificate:
        """Return the certificate that a name gets.

        Args:
            name: The host name's first label.
            authority: A PEM file in the scratch folder that alone is trusted; all of the tests' if empty.
        """
        trusted = str(SCRATCH / authority) if authority else str(self.ca)
        domain = self.domain(name)
        context = ssl.create_default_context(cafile=trusted)
        with (
            socket.create_connection((self.address, 443), timeout=10) as connection,
            context.wrap_socket(connection, server_hostname=domain) as tls,
        ):
            der = tls.getpeercert(binary_form=True)
        assert der
        return x509.load_der_x509_certificate(der)

    def serial(self, name: str) -> int:
        """Return the serial number of the certificate that a name gets."""
        return self.certificate(name).serial_number

    def renewed(self, name: str, before: int) -> bool:
        """Wait until a name gets another certificate, as a reload ends a moment after it was asked for, and tell."""
        return eventually(lambda: self.serial(name) != before)

    def answers(self, name: str = "web") -> int:
        """Return the status with which an application answers."""
        return self.get(f"https://{self.domain(name)}/").status_code

    def order(self, *names: str) -> Any:
        """Order certificates now, as the timer does when they are near their end."""
        return self.host.run("/usr/local/lib/slipway/order " + " ".join(names))


def edge(name: str) -> Edge:
    """Return an edge that trusts all of the tests' authorities."""
    trusted = SCRATCH / f"{name}.trusted.pem"
    files = (f"{name}.pem", "pebble.pem", "root.pem")
    trusted.write_text("\n".join((SCRATCH / file).read_text() for file in files))
    return Edge(name, trusted)


def site(*arguments: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    """Run site.yml, with some of the inventory's variables as the test wants them."""
    return play("site.yml", INVENTORY, *arguments, "--extra-vars", json.dumps(variables))


def dns(path: str, **body: Any) -> None:
    """Change the DNS that the authority asks."""
    address = Stack("ca13", SCRATCH / "pebble.pem").address
    urllib.request.urlopen(f"http://{address}:8055/{path}", json.dumps(body).encode(), timeout=10)


@contextmanager
def load(stack: Edge, name: str) -> Iterator[Traffic]:
    """Ask an application 100 times a second while the block runs, half of it over new connections."""
    target = {
        "name": name,
        "host": stack.domain(name),
        "port": 443,
        "addresses": [stack.address],
        "ca": str(stack.ca),
        "rate": 100,
        "clients": 16,
        "requests": [{"method": "GET", "path": "/"}],
    }
    driven = Traffic(run="")
    with probed(driven, target, lambda: True):
        yield driven
