"""Releases come and go under a running service: the full drill, and a release that does not start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from feedd._version import __version__
from feedd.exchange import Exchange
from tests.system.box import Box
from tests.system.conftest import IN_BOX, NEXT_IN_BOX, NEXT_VERSION, install, try_install
from tests.system.service import SYMBOLS, UNIT, Service, verb


def assert_in_order(lines: Iterable[str], story: Iterable[str]) -> None:
    """See that the journal has these words in this order, whatever else is in between."""
    rest: Iterator[str] = iter(lines)
    for words in story:
        assert any(words in line for line in rest), f"the journal does not go on with: {words}"


def bars(count: int) -> str:
    """Return so many bars of a second each."""
    rows = (f"{1_700_000_000 + second},100,101,99,100.5,{second % 7 + 1}\n" for second in range(count))
    return "timestamp,open,high,low,close,volume\n" + "".join(rows)


# What the log says at every start and change of the source.
STATIC, REALTIME = "source is STATIC", "source is REALTIME"


def test_full_drill(service: Service, exchange: Exchange) -> None:
    box = service.box
    for symbol in SYMBOLS:
        box.path(f"/var/lib/feedd/{symbol}.csv").write_text(bars(900))

    # Release A, on recorded data.
    service.configure(FLAG_REALTIME="0", FEEDD_CSV_PATH="/var/lib/feedd")
    service.start()
    service.until_open("?allow=static")
    assert service.gate()["reasons"] == ["static_source"]

    # Release B, then live.
    said = install(box, "--restart", NEXT_IN_BOX)
    assert f"{NEXT_VERSION} is in use, {__version__} was" in said
    assert f"the daemon runs {NEXT_VERSION}" in said
    verb(box, "realtime")
    service.until_open()
    assert service.gate()["source"] == "realtime"
    connections = exchange.open_connections()

    # Back to recorded data, and back to A.
    assert "confirmed by the daemon" in verb(box, "rollback")
    assert service.get("/gate?allow=static")[0] == 200, "the verb waits until trading resumes"
    assert service.get("/gate")[0] == 503
    assert exchange.open_connections() == 0
    assert exchange.stats.close_codes.total() == connections
    before = service.pid
    said = box.run(f"{IN_BOX}/deploy/rollback").stdout
    assert f"the daemon runs {__version__}" in said
    assert service.pid != before
    assert "the daemon runs" in box.run(f"{IN_BOX}/deploy/rollback").stdout, "again, it changes nothing"
    service.until_open("?allow=static")

    # And live once more.
    verb(box, "realtime")
    service.until_open()
    assert_in_order(
        service.journal(),
        [
            f"version={__version__} source=static",
            STATIC,
            "stopping",
            f"version={NEXT_VERSION} source=static",
            STATIC,
            REALTIME,
            "trading open",
            STATIC,
            "trading open",
            "stopping",
            f"version={__version__} source=static",
            STATIC,
            REALTIME,
            "trading open",
        ],
    )


def test_release_that_does_not_start_gives_way_to_the_old_one(service: Service, exchange: Exchange) -> None:
    box = service.box
    service.start()
    old = service.pid
    install(box, NEXT_IN_BOX)
    assert service.pid == old, "an install restarts nothing unless asked to"
    box.run(f"{IN_BOX}/deploy/rollback")
    assert service.pid == old, "it never left that release"
    script = box.path(f"/opt/feedd/releases/{NEXT_VERSION}/bin/feedd")
    text = script.read_text()
    # It passes every check, and fails only once it is run.
    script.write_text(
        text.replace("import sys\n", "import sys\nif 'run' in sys.argv: sys.exit('broken')\n", 1)
    )
    assert script.read_text() != text
    done = try_install(box, "--restart", NEXT_IN_BOX)
    assert done.returncode == 1
    assert f"{NEXT_VERSION} does not start; {__version__} is in use again" in done.stderr
    assert "broken" in done.stderr, "the journal's last words"
    assert service.show("ActiveState") == "active"
    assert any(f"version={__version__}" in line for line in service.journal()[-10:])
    service.until_open()
    box.run("rm", "-r", f"/opt/feedd/releases/{NEXT_VERSION}")


def test_install_again_is_idempotent_under_systemd(installed: Box) -> None:
    before = installed.run("systemctl", "show", UNIT, "--property=ActiveState,MainPID").stdout
    assert f"{__version__} is in use already" in install(installed)
    assert installed.run("systemctl", "show", UNIT, "--property=ActiveState,MainPID").stdout == before
