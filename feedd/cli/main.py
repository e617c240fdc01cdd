"""The command line: arguments, exit codes and messages to a person.

Exit codes: 0 fine; 1 ran and failed (port in use, daemon not there); 2 wrong usage or settings.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvloop

from feedd import logs
from feedd._version import __version__
from feedd.cli.daemon_address import by_settings, by_url
from feedd.cli.flag_commands import FLAG_COMMANDS, FlagCommand, set_and_confirm
from feedd.cli.status import show_status
from feedd.client.address import Address
from feedd.config.describe import describe
from feedd.config.resolve import load
from feedd.config.settings import Settings
from feedd.config.watcher import Configuration
from feedd.config_reload import log_findings
from feedd.daemon import Daemon
from feedd.errors import FeeddError, NotDrillableError, SettingsError
from feedd.model import LogFormat, LogLevel
from feedd.outputs.http.web_config import load_web_config

FINE, FAILED, WRONG_USAGE = 0, 1, 2

Work = Callable[[asyncio.Event], Awaitable[int]]
"""Runs until it has finished or the event is set. Returns the exit code."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the command line."""

    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    """Runs the command. Returns the exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.command(arguments)
        return code
    except SettingsError as error:
        for problem in error.problems:
            print(f"feedd: {problem}", file=sys.stderr)
        return WRONG_USAGE
    except (FeeddError, OSError) as error:
        print(f"feedd: {error}", file=sys.stderr)
        return WRONG_USAGE if isinstance(error, NotDrillableError) else FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="feedd",
        description="Keeps Binance market data alive and halts trading when it can't be trusted.",
    )
    parser.add_argument("--version", action="version", version=f"feedd {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        subparser = subparsers.add_parser(command.name, help=command.help)
        command.add_arguments(subparser)
        subparser.set_defaults(command=command.run)
    return parser


# --- the arguments of each command


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    _add_env_file(parser)
    parser.add_argument("--source", choices=("realtime", "csv"), help="instead of FLAG_REALTIME")
    parser.add_argument("--symbols", metavar="A,B", help="instead of FEEDD_SYMBOLS")
    parser.add_argument("--minutes", metavar="N", help="instead of FEEDD_CSV_MINUTES")
    parser.add_argument("--listen", metavar="HOST:PORT", help="instead of FEEDD_LISTEN")


def _add_env_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--env-file", type=Path, metavar="FILE", help="settings, one KEY=value a line")


def _add_status_arguments(parser: argparse.ArgumentParser) -> None:
    _add_env_file(parser)
    _add_daemon_address(parser)
    parser.add_argument("--json", action="store_true", help="as the daemon says it")
    parser.add_argument("--watch", action="store_true", help="again every second, until interrupted")


def _add_daemon_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url", metavar="URL", help="the daemon (default: the env-file's, or http://127.0.0.1:9745)"
    )
    parser.add_argument("--ca", type=Path, metavar="FILE", help="certificates to trust at an https URL")
    parser.add_argument(
        "--credentials", type=Path, metavar="FILE", help="holds user:password, or a bearer token"
    )


def _add_exchange_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen", metavar="HOST:PORT", default="127.0.0.1:9746", help="default: %(default)s"
    )
    parser.add_argument("--symbols", metavar="A,B", help="default: BTCUSDT, or the replayed session's")
    parser.add_argument("--seed", type=int, default=1, help="of the market (default: %(default)s)")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="a recorded session instead of a market")
    parser.add_argument(
        "--speed",
        type=float,
        default=1.0,
        help="2 = twice as fast, 0 = as fast as it goes (default: %(default)s)",
    )


def _add_flag_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--env-file", type=Path, metavar="FILE", required=True, help="the daemon's env-file")
    parser.add_argument(
        "--timeout", type=float, default=5.0, help="seconds to wait for the daemon (default: %(default)s)"
    )
    _add_daemon_address(parser)


def _add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen", metavar="HOST:PORT", default="127.0.0.1:9745", help="default: %(default)s"
    )
    parser.add_argument(
        "--exchange-port", type=int, default=9746, metavar="PORT", help="default: %(default)s"
    )


def _add_drill_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--against",
        metavar="URL",
        help="a running daemon that watches an embedded exchange (default: one of its own, on loopback)",
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="CASE", help="this case; may be given several times"
    )
    parser.add_argument("--list", action="store_true", help="show the cases and do nothing")
    parser.add_argument("--log", action="store_true", help="show the log of the drill's own daemon as well")


# --- what each command does


def _configuration(arguments: argparse.Namespace) -> Configuration:
    given = {
        "FLAG_REALTIME": {"realtime": "1", "csv": "0"}.get(getattr(arguments, "source", None) or ""),
        "FEEDD_SYMBOLS": getattr(arguments, "symbols", None),
        "FEEDD_CSV_MINUTES": getattr(arguments, "minutes", None),
        "FEEDD_LISTEN": getattr(arguments, "listen", None),
    }
    stated = {key: value for key, value in given.items() if value is not None}
    return Configuration(arguments.env_file, os.environ, stated)


def _run(arguments: argparse.Namespace) -> int:
    configuration = _configuration(arguments)
    resolved, env_file = configuration.load()
    settings = resolved.settings
    logs.set_up(settings.log_level, settings.log_format)
    log_findings(resolved)

    async def work(stop: asyncio.Event) -> int:
        # To scan what a thousand symbols hold takes the collector 150 ms, and none of it is garbage.
        daemon = Daemon(settings, configuration=configuration, env_file=env_file, settled=gc.freeze)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, daemon.reload)
        await daemon.run(stop)
        return FINE

    return _until_signalled(work)


def _check(arguments: argparse.Namespace) -> int:
    resolved, _ = _configuration(arguments).load()
    if resolved.settings.web_config is not None:
        load_web_config(resolved.settings.web_config)
    print("\n".join(describe(resolved)))
    for finding in (*resolved.warnings, *resolved.conflicts):
        print(f"warning: {finding}", file=sys.stderr)
    return FINE


def _status(arguments: argparse.Namespace) -> int:
    try:
        return asyncio.run(
            show_status(_daemon_address(arguments), as_json=arguments.json, watch=arguments.watch)
        )
    except KeyboardInterrupt:
        return FINE


def _set_flag(command: FlagCommand, arguments: argparse.Namespace) -> int:
    try:
        daemon = _daemon_address(arguments)
    except SettingsError as error:
        # A halt must not fail because something else is wrong.
        daemon = by_settings(Settings(), None)
        print(f"feedd: {error}\nfeedd: asking the daemon at {daemon}", file=sys.stderr)
    asyncio.run(set_and_confirm(command, arguments.env_file, daemon, arguments.timeout, print))
    return FINE


def _daemon_address(arguments: argparse.Namespace) -> Address:
    if arguments.url is not None:
        return by_url(arguments.url, arguments.ca, arguments.credentials)
    if arguments.env_file is None:
        return by_settings(Settings(), arguments.credentials)
    return by_settings(load(arguments.env_file, os.environ, {}).settings, arguments.credentials)


def _exchange(arguments: argparse.Namespace) -> int:
    # Only who asks for an exchange pays for its import: the daemon should be up at once.
    from feedd.exchange import ExchangeSettings, serve

    symbols = arguments.symbols
    settings = ExchangeSettings(
        symbols=tuple(symbols.upper().split(",")) if symbols else ExchangeSettings().symbols,
        seed=arguments.seed,
        replay=arguments.replay,
        speed=arguments.speed,
    )
    host, _, port = arguments.listen.rpartition(":")

    async def work(stop: asyncio.Event) -> int:
        await serve(settings, host, int(port), lambda exchange: print(f"exchange at {exchange.ws_url}"), stop)
        return FINE

    return _until_signalled(work)


def _demo(arguments: argparse.Namespace) -> int:
    async def work(stop: asyncio.Event) -> int:
        from feedd.cli.demo import run_demo  # as above

        await run_demo(stop, print, arguments.listen, arguments.exchange_port)
        return FINE

    return _until_signalled(work)


def _drill(arguments: argparse.Namespace) -> int:
    from feedd.cli.drill_sandbox import open_sandbox
    from feedd.drill import drill, listing, named  # as above

    cases = named(arguments.only)
    if arguments.list:
        print("\n".join(listing(cases)))
        return FINE
    report = partial(print, flush=True)

    async def drill_all() -> bool:
        if arguments.against:
            return await drill(arguments.against, cases, report)
        if arguments.log:
            logs.set_up(LogLevel.INFO, LogFormat.TEXT)
        else:
            logs.discard()
        async with open_sandbox() as sandbox:
            return await drill(sandbox.url, cases, report, env_file=sandbox.env_file, stays=False)

    async def work(stop: asyncio.Event) -> int:
        drilling, stopped = asyncio.create_task(drill_all()), asyncio.create_task(stop.wait())
        await asyncio.wait({drilling, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if drilling.done():
            return FINE if drilling.result() else FAILED
        drilling.cancel()
        await asyncio.wait({drilling})
        print("feedd: the drill was stopped; what it broke is mended", file=sys.stderr)
        return FAILED

    return _until_signalled(work)


def _until_signalled(work: Work) -> int:
    """Run the work on a fresh event loop; SIGTERM and SIGINT set its event."""

    async def with_signals() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        return await work(stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(with_signals())


COMMANDS = (
    Command("run", "run the daemon", _add_run_arguments, _run),
    Command("check", "check the settings and show where each comes from", _add_env_file, _check),
    Command("status", "show what a running daemon knows", _add_status_arguments, _status),
    Command("exchange", "run the embedded exchange", _add_exchange_arguments, _exchange),
    *(Command(flag.name, flag.help, _add_flag_arguments, partial(_set_flag, flag)) for flag in FLAG_COMMANDS),
    Command("demo", "run the embedded exchange and a daemon on loopback", _add_demo_arguments, _demo),
    Command(
        "drill", "break the exchange in every way, and see what comes of it", _add_drill_arguments, _drill
    ),
)
"""In the order in which the help shows them."""
