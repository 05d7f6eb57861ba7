"""The journal's limits, as systemd reads them."""

from __future__ import annotations

from configparser import ConfigParser

from .conftest import Host


def test_the_journal_is_kept_and_bounded(host: Host) -> None:
    conf = ConfigParser()
    conf.optionxform = str  # type: ignore[assignment,method-assign]  # systemd minds the case
    template = "etc/systemd/journald.conf.d/slipway.conf.j2"
    conf.read_string(host.render("baseline", template, baseline_journald_max_use="300M"))
    assert dict(conf["Journal"]) == {"Storage": "persistent", "SystemMaxUse": "300M"}
