"""The controls 02 to 20 of dev-sec's postgres-baseline, each met, or refused with the reason.

A control that is refused has a test that what it is there for is so all the same, or that it is refused knowingly.
"""

from __future__ import annotations

import re

from tests.sql import answer
from tests.stack import Stack


def mode(stack: Stack, path: str) -> str:
    """Return a file's owner, group and mode; the path may have wildcards."""
    return stack.run(f"stat --format='%U:%G %a' {path}").strip()


def lines(stack: Stack) -> list[list[str]]:
    """Return the rules of pg_hba.conf that are in force, each as its words."""
    rules = answer(stack, "SELECT type, auth_method FROM pg_hba_file_rules")
    return [line.split("|") for line in rules.splitlines()]


def test_02_a_stable_version(stack: Stack) -> None:
    said = stack.run("psql --version")
    assert re.search(r"PostgreSQL\) 1[5-9]\.\d+", said)
    assert not re.search(r"rc|devel|beta", said, re.IGNORECASE)


def test_03_one_server(stack: Stack) -> None:
    assert stack.run("pgrep --count --full '[b]in/postgres -D'").strip() == "1"


def test_04_no_untrusted_languages(stack: Stack) -> None:
    untrusted = "SELECT count(*) FROM pg_language WHERE NOT lanpltrusted AND lanname NOT IN ('internal', 'c')"
    assert answer(stack, untrusted) == "0"


def test_05_no_languages_that_nobody_needs(stack: Stack) -> None:
    others = (
        "SELECT count(*) FROM pg_language WHERE lanname NOT IN ('internal', 'c', 'sql', 'plpgsql')"
    )
    assert answer(stack, others) == "0"


def test_06_refused_a_password_for_each_user(stack: Stack) -> None:
    # The socket asks the kernel who somebody is, so there are none to be guessed, leaked or rotated. A role without one
    # can't log in by TCP: what has none here is let in by peer alone.
    assert answer(stack, "SELECT count(*) FROM pg_shadow WHERE passwd IS NOT NULL") == "0"
    assert {method for _, method in lines(stack)} == {"peer"}


def test_07_passwords_as_salted_hashes(stack: Stack) -> None:
    assert answer(stack, "SHOW password_encryption") == "scram-sha-256"
    plain = "SELECT count(*) FROM pg_shadow WHERE passwd !~ '^SCRAM-SHA-256'"
    assert answer(stack, plain) == "0"


def test_08_one_superuser(stack: Stack) -> None:
    mighty = "SELECT string_agg(rolname, ' ') FROM pg_roles WHERE rolsuper OR rolcreaterole OR rolcreatedb"
    assert answer(stack, mighty) == "postgres"


def test_09_nobody_else_reads_the_verifiers_of_passwords(stack: Stack) -> None:
    readers = "SELECT DISTINCT grantee FROM information_schema.role_table_grants WHERE table_name = 'pg_authid'"
    assert answer(stack, readers) == "postgres"


def test_10_the_configuration_is_read_by_the_server_alone(stack: Stack) -> None:
    # The rules are root's, readable by the server: it has no need to write them. Settings hold no secret.
    assert mode(stack, "/etc/postgresql/*/main/pg_hba.slipway.conf") == "root:postgres 640"
    assert mode(stack, "/etc/postgresql/*/main/pg_ident.slipway.conf") == "root:postgres 640"
    assert mode(stack, "/etc/postgresql/*/main") == "postgres:postgres 755"
    assert mode(stack, "/etc/postgresql/*/main/postgresql.conf") == "postgres:postgres 644"


def test_11_tls(stack: Stack) -> None:
    assert answer(stack, "SHOW ssl") == "on"


def test_12_refused_a_list_of_ciphers(stack: Stack) -> None:
    # The list is of 2013 and lets in more than TLS 1.2's defaults do: a version that has no weak ones is asked for.
    assert answer(stack, "SHOW ssl_min_protocol_version") == "TLSv1.2"
    assert answer(stack, "SHOW ssl_ciphers") == "HIGH:MEDIUM:+3DES:!aNULL"


def test_13_peer_on_the_socket(stack: Stack) -> None:
    assert {method for kind, method in lines(stack) if kind == "local"} == {"peer"}


def test_14_scram_elsewhere(stack: Stack) -> None:
    assert {method for kind, method in lines(stack) if kind != "local"} <= {"scram-sha-256"}


def test_15_nothing_without_tls(stack: Stack) -> None:
    assert not [kind for kind, _ in lines(stack) if kind in ("host", "hostnossl")]


def test_16_logging_but_for_what_says_nothing(stack: Stack) -> None:
    for setting in ("log_connections", "log_disconnections", "log_checkpoints", "log_lock_waits"):
        assert answer(stack, f"SHOW {setting}") == "on", setting
    assert {"%m", "%p", "%u", "%d", "%h"} <= set(
        re.findall("%[a-z]", answer(stack, "SHOW log_line_prefix"))
    )
    # Refused: log_duration, which times what nobody reads (what is slow is logged with its text); log_hostname, which
    # asks DNS at each connection; logging_collector, since Debian's pg_ctlcluster has a log already.
    assert answer(stack, "SHOW log_min_duration_statement") == "1s"


def test_17_nothing_for_public(stack: Stack) -> None:
    granted = (
        "SELECT count(*) FROM information_schema.table_privileges"
        " WHERE grantee = 'PUBLIC' AND table_schema NOT IN ('pg_catalog', 'information_schema')"
    )
    assert answer(stack, granted) == "0"
    connect = "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database, aclexplode(datacl) WHERE grantee = 0"
    # template0 takes no connections.
    assert answer(stack, connect) == "template0"


def test_18_nothing_that_may_be_passed_on(stack: Stack) -> None:
    grantable = (
        "SELECT count(*) FROM information_schema.table_privileges"
        " WHERE grantee NOT IN ('postgres', 'tally_owner') AND is_grantable = 'YES'"
    )
    # The owner of a table may always pass it on, and nobody logs in as that.
    assert answer(stack, grantable) == "0"


def test_19_no_functions_with_another_s_rights(stack: Stack) -> None:
    definers = "SELECT count(*) FROM pg_proc WHERE prosecdef"
    assert answer(stack, definers) == "0"


def test_20_the_data_are_the_server_s_alone(stack: Stack) -> None:
    assert mode(stack, "/var/lib/postgresql/*/main") == "postgres:postgres 700"
    # Refused for the folder of logs: it is Debian's, sticky, and the files in it are 0640, for the group adm.
    assert mode(stack, "/var/log/postgresql") == "root:postgres 1775"
    assert set(stack.run("stat --format=%a /var/log/postgresql/*.log").split()) == {"640"}
