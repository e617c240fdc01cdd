"""The flags, as an operator flips them on a running service: by editor, by verb and by accident."""

from __future__ import annotations

import pytest

from feedd.exchange import Exchange
from tests.system.service import ENV_FILE, UNIT, Service, verb

UNREADABLE_SECONDS = 3.0


@pytest.fixture
def trading(service: Service, exchange: Exchange) -> Service:
    """feedd, running, with every gate open."""
    service.start()
    service.until_open()
    return service


def assert_lifted(service: Service, exchange: Exchange, pid: int, connects: int) -> None:
    """See trading resume, by the same process on the same connections."""
    service.until_open()
    assert (service.pid, service.show("NRestarts")) == (pid, "0")
    assert exchange.stats.connects == connects


def test_kill_switch_by_an_editor_halts_and_back_reopens(trading: Service, exchange: Exchange) -> None:
    pid, connects = trading.pid, exchange.stats.connects
    trading.edit("FLAG_TRADING_HALTED", "1")
    trading.until_halted("kill_switch", seconds=1.0)
    trading.until(lambda: "all halted (kill_switch)" in trading.show("StatusText"), "the status line")
    trading.edit("FLAG_TRADING_HALTED", "0")
    assert_lifted(trading, exchange, pid, connects)
    assert not any("can't be watched" in line for line in trading.journal()), "the sandbox lets it watch"


def test_kill_switch_written_in_place_halts(trading: Service) -> None:
    text = trading.box.path(ENV_FILE).read_text()
    trading.write_env_file(text.replace("FLAG_TRADING_HALTED=0", "FLAG_TRADING_HALTED=1"))
    trading.until_halted("kill_switch", seconds=1.0)


def test_halt_and_resume_by_verb(trading: Service, exchange: Exchange) -> None:
    pid, connects = trading.pid, exchange.stats.connects
    file = trading.box.path(ENV_FILE)
    before, mode = file.read_text(), file.stat().st_mode
    assert "confirmed by the daemon" in verb(trading.box, "halt")
    assert trading.gate()["reasons"] == ["kill_switch"], "the verb waits until it is so"
    assert file.read_text() == before.replace("FLAG_TRADING_HALTED=0", "FLAG_TRADING_HALTED=1")
    assert file.stat().st_mode == mode
    assert "confirmed by the daemon" in verb(trading.box, "resume")
    assert_lifted(trading, exchange, pid, connects)
    assert file.read_text() == before


def test_verb_without_a_daemon_is_exit_1(service: Service) -> None:
    done = service.box.run("feedd", "halt", "--env-file", ENV_FILE, "--timeout", "0.5", check=False)
    assert done.returncode == 1
    assert "has not confirmed" in done.stderr


@pytest.mark.parametrize("value", ["maybe", "", "0 0", "2"])
def test_value_that_is_no_clear_no_halts(trading: Service, exchange: Exchange, value: str) -> None:
    pid, connects = trading.pid, exchange.stats.connects
    trading.edit("FLAG_TRADING_HALTED", value)
    trading.until_halted("kill_switch")
    trading.edit("FLAG_TRADING_HALTED", "0")
    assert_lifted(trading, exchange, pid, connects)


def test_file_that_is_removed_halts_and_put_back_reopens(trading: Service, exchange: Exchange) -> None:
    pid, connects = trading.pid, exchange.stats.connects
    trading.box.run("mv", ENV_FILE, f"{ENV_FILE}.away")
    trading.until_halted("flags_unreadable", seconds=UNREADABLE_SECONDS)
    trading.box.run("mv", f"{ENV_FILE}.away", ENV_FILE)
    assert_lifted(trading, exchange, pid, connects)


def test_file_that_the_service_may_not_read_halts(trading: Service) -> None:
    trading.box.run("chmod", "0600", ENV_FILE)
    try:
        trading.until_halted("flags_unreadable", seconds=UNREADABLE_SECONDS)
    finally:
        trading.box.run("chmod", "0644", ENV_FILE)
    trading.until_open()


def test_mistake_in_the_file_changes_nothing_and_a_kill_switch_in_it_halts(trading: Service) -> None:
    text = trading.box.path(ENV_FILE).read_text()
    trading.write_env_file(text + "FEEDD_SYMBOL=DOGEUSDT\n")
    trading.until(lambda: "feedd_config_last_reload_successful 0" in trading.get("/metrics")[1], "the metric")
    assert trading.get("/gate")[0] == 200
    assert any("did you mean FEEDD_SYMBOLS?" in line for line in trading.journal())
    trading.edit("FLAG_TRADING_HALTED", "1")
    trading.until_halted("kill_switch", seconds=1.0)
    trading.write_env_file(text)
    trading.until_open()
    assert "feedd_config_last_reload_successful 1" in trading.get("/metrics")[1]


def test_kill_switch_that_was_on_at_the_start_is_lifted_by_the_file(
    service: Service, exchange: Exchange
) -> None:
    service.configure(FLAG_TRADING_HALTED="1")
    service.start()
    service.until(
        lambda: (service.gate() or {})["reasons"] == ["kill_switch"], "only the kill switch is left"
    )
    service.edit("FLAG_TRADING_HALTED", "0")
    service.until_open()


def test_latched_halt_lasts_until_a_reload(service: Service, exchange: Exchange) -> None:
    service.configure(FEEDD_RESUME="manual")
    service.start()
    # The first data after a start is no resumption.
    service.until_open()

    async def reset() -> None:
        exchange.set_fault("reset")

    service.box.call(reset())
    service.until(lambda: service.gate()["reasons"] == ["latched"], "only the latch is left")
    service.systemctl("reload", UNIT)
    service.until_open(seconds=2.0)
