"""The runbook: a section for every alert, with four parts, and nothing in it that doesn't exist."""

from __future__ import annotations

import re

import pytest

from feedd.cli.main import main
from feedd.config.keys import KEYS
from feedd.model import ConnectFailure, DisconnectReason, InvalidReason, Reason
from tests.alerts.shipped import RUNBOOK, alerts, exported, sections

TEXT = RUNBOOK.read_text("utf-8")


def test_every_alert_has_a_section_and_every_section_an_alert() -> None:
    assert list(sections()) == list(alerts())


@pytest.mark.parametrize("title", sections())
def test_section_says_what_it_means_how_to_confirm_what_to_do_and_how_it_ends(title: str) -> None:
    text = sections()[title]
    places = [text.find(part) for part in ("**Means.**", "**Confirm.**\n\n    ", "**Do", "**Ends**")]
    assert -1 not in places
    assert places == sorted(places)


def test_links_lead_somewhere() -> None:
    anchors = {title.lower() for title in sections()}
    assert set(re.findall(r"\]\(#(\w+)\)", TEXT)) <= anchors


def test_every_reason_to_halt_is_explained() -> None:
    explained = set(re.findall(r"^- `(\w+)`:", sections()["FeeddTradingHalted"], flags=re.M))
    assert explained == set(Reason) - {
        Reason.KILL_SWITCH,
        Reason.FLAGS_UNREADABLE,
        Reason.STARTING,
        Reason.STATIC_SOURCE,
    }


def test_settings_that_it_names_exist() -> None:
    names = {key.name for key in KEYS}
    for name in set(re.findall(r"\b(?:FEEDD|FLAG)_[A-Z_]+(?:<SYMBOL>)?", TEXT)):
        assert name in names, name


def test_metrics_that_it_names_exist() -> None:
    assert set(re.findall(r"\bfeedd_[a-z_]+", TEXT)) <= exported()


COMMANDS = set(re.findall(r"`feedd ([a-z]+)", TEXT)) | {
    command
    for line in re.findall(r"^    .*", TEXT, flags=re.M)
    for command in re.findall(r"\bfeedd ([a-z]+)", line)
}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_commands_that_it_names_exist(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0


def test_words_that_it_takes_for_reasons_are_reasons() -> None:
    known = {*Reason, *DisconnectReason, *ConnectFailure, *InvalidReason}
    for title in ("FeeddConnectionFlapping", "FeeddConnectFailing", "FeeddInvalidMessages"):
        words = re.findall(r"`([a-z]+(?:_[a-z0-9]+)*)`", sections()[title])
        assert words
        assert set(words) - {"reason"} <= known, title
