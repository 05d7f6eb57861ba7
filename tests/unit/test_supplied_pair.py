"""What is wrong with a certificate that somebody supplies is said with the key and the fix, and nothing of its key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from .conftest import load

NOW = datetime.now(UTC)
Issue = Callable[..., x509.Certificate]
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@pytest.fixture(scope="module")
def module() -> ModuleType:
    """Return the lookup."""
    return load("plugins/lookup/supplied_pair.py")


def issued(
    name: str,
    key: Key,
    by: tuple[str, Key],
    days: tuple[int, int] = (-1, 60),
    *names: str,
    access: x509.AuthorityInformationAccess | None = None,
) -> x509.Certificate:
    """Return a certificate that is good from one day to another, counted from now."""
    called = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, by[0])])
    builder = x509.CertificateBuilder(
        issuer_name=signer,
        subject_name=called,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=NOW + timedelta(days=days[0]),
        not_valid_after=NOW + timedelta(days=days[1]),
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(one) for one in names])
        builder = builder.add_extension(alternatives, critical=False)
    if access:
        builder = builder.add_extension(access, critical=False)
    return builder.sign(by[1], hashes.SHA256())


ROOT_KEY, MIDDLE_KEY, LEAF_KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
ROOT = ("Root", ROOT_KEY)
MIDDLE = issued("Middle", MIDDLE_KEY, ROOT)
LEAF = issued("leaf", LEAF_KEY, ("Middle", MIDDLE_KEY), (-1, 60), "a.org", "*.b.org")


def pem(key: Key, password: bytes = b"") -> bytes:
    """Return a private key."""
    hidden = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)


def looked_at(
    module: ModuleType, folder: Path, chain: Any, key: bytes, domains: list[str]
) -> dict[str, Any]:
    """Return what the lookup says of files in a folder."""
    if not isinstance(chain, bytes):
        chain = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)
    (folder / "chain.pem").write_bytes(chain)
    (folder / "key.pem").write_bytes(key)
    leaf = {"name": "shop", "domains": domains, "chain": "chain.pem", "key": "key.pem"}
    (said,) = module.LookupModule(loader=DataLoader()).run([leaf], {}, root=str(folder))
    found: dict[str, Any] = said
    return found


def test_a_good_pair_has_nothing_wrong(module: ModuleType, tmp_path: Path) -> None:
    said = looked_at(
        module, tmp_path, [LEAF, MIDDLE], pem(LEAF_KEY), ["a.org", "x.b.org", "*.b.org"]
    )
    assert (said["errors"], said["warnings"]) == ([], [])
    assert said["pem"].count("BEGIN CERTIFICATE") == 2
    assert said["folder"].startswith("files-")


def informed(method: x509.ObjectIdentifier) -> x509.Certificate:
    """Return a certificate that says where to ask its authority for something."""
    where = x509.AccessDescription(method, x509.UniformResourceIdentifier("http://ca.org"))
    access = x509.AuthorityInformationAccess([where])
    return issued("leaf", LEAF_KEY, ("Middle", MIDDLE_KEY), (-1, 60), "a.org", access=access)


@pytest.mark.parametrize(
    ("chain", "stapling"),
    [
        ([informed(AuthorityInformationAccessOID.OCSP), MIDDLE], True),
        ([informed(AuthorityInformationAccessOID.OCSP)], False),  # nobody to ask with
        ([informed(AuthorityInformationAccessOID.CA_ISSUERS), MIDDLE], False),
        ([LEAF, MIDDLE], False),
        (b"nothing", False),
    ],
)
def test_revocation_is_told_along_where_it_can_be_asked_for(
    module: ModuleType, tmp_path: Path, chain: Any, stapling: bool
) -> None:
    said = looked_at(module, tmp_path, chain, pem(LEAF_KEY), ["a.org"])
    assert (said["name"], said["stapling"]) == ("shop", stapling)


@pytest.mark.parametrize(
    ("chain", "key", "domains", "message"),
    [
        ([LEAF], pem(MIDDLE_KEY), ["a.org"], "tls.key: is not the key of CN=leaf; "),
        ([LEAF], pem(LEAF_KEY, b"x"), ["a.org"], "tls.key: has a passphrase"),
        ([LEAF], b"nothing", ["a.org"], "tls.key: is no private key in PEM"),
        (b"nothing", pem(LEAF_KEY), ["a.org"], "tls.chain: holds no certificate in PEM"),
        (b"\xff\xfe", pem(LEAF_KEY), ["a.org"], "chain.pem is no PEM"),
        ([LEAF], pem(LEAF_KEY), ["c.org"], "tls.chain: is for a.org, *.b.org, and so not for c.org; "),
        ([LEAF], pem(LEAF_KEY), ["b.org"], "and so not for b.org; "),
        ([LEAF], pem(LEAF_KEY), ["x.y.b.org"], "and so not for x.y.b.org; "),
        ([MIDDLE, LEAF], pem(MIDDLE_KEY), ["a.org"], "CN=Middle is not signed by the one after it, CN=leaf; "),
        (
            [issued("leaf", LEAF_KEY, ROOT, (-9, -1), "a.org")],
            pem(LEAF_KEY),
            ["a.org"],
            "tls.chain: CN=leaf ended on ",
        ),
        (
            [issued("leaf", LEAF_KEY, ROOT, (1, 9), "a.org")],
            pem(LEAF_KEY),
            ["a.org"],
            "tls.chain: CN=leaf isn't valid before ",
        ),
        ([issued("a.org", LEAF_KEY, ROOT)], pem(LEAF_KEY), ["a.org"], "is for no host name"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(
    module: ModuleType, tmp_path: Path, chain: Any, key: bytes, domains: list[str], message: str
) -> None:
    said = looked_at(module, tmp_path, chain, key, domains)
    assert any(message in error for error in said["errors"]), said["errors"]
    assert not any("-----BEGIN" in error for error in said["errors"])


def test_a_weak_key_is_refused(module: ModuleType, tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    said = looked_at(module, tmp_path, [issued("leaf", key, ROOT, (-1, 60), "a.org")], pem(key), ["a.org"])  # fmt: skip
    assert "apps.shop.tls.key: is RSA of 1024 bits" in said["errors"][0]


def test_one_that_ends_soon_is_good_but_told_of(module: ModuleType, tmp_path: Path) -> None:
    soon = issued("leaf", LEAF_KEY, ROOT, (-9, 10), "a.org")
    said = looked_at(module, tmp_path, [soon], pem(LEAF_KEY), ["a.org"])
    assert said["errors"] == []
    assert said["warnings"] == ["apps.shop.tls.chain: ends in 9 days; nobody renews it but you"]


def test_a_file_that_is_not_there_is_named(module: ModuleType, tmp_path: Path) -> None:
    leaf = {"name": "shop", "domains": ["a.org"], "chain": "no.pem", "key": ""}
    (said,) = module.LookupModule(loader=DataLoader()).run([leaf], {}, root=str(tmp_path))
    assert f"apps.shop.tls.chain: {tmp_path / 'no.pem'} can't be read" in " ".join(said["errors"])
    assert "apps.shop.tls.key: is missing" in " ".join(said["errors"])
