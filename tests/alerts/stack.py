"""Real daemons, Prometheuses and Alertmanagers on free loopback ports, and whoever is paged by them.

They run the shipped files. Only addresses and paths are replaced, and where a test can't wait for minutes,
time: `compress` makes every second of the rules, routes and intervals so many times shorter.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from tests.system_components import needs

PROJECT = Path(__file__).parents[2]
RULES = PROJECT / "alerts" / "feedd.rules.yaml"
PROMETHEUS_CONFIG = PROJECT / "deploy" / "prometheus.yml"
ALERTMANAGER_CONFIG = PROJECT / "deploy" / "alertmanager.yml"
ALERTMANAGER_FILES = PROJECT / "deploy" / "alertmanager"
SECRETS = "/etc/prometheus/secrets"
WEBHOOK = "http://localhost:9747"
START_SECONDS = 20.0
"""How long a process may take to answer, on a machine that is busy with many of them."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def needs_components() -> None:
    """Skip the test, or fail it where CI runs, unless Debian's Prometheus and Alertmanager are installed."""
    for component in ("prometheus", "promtool", "prometheus-alertmanager", "amtool"):
        needs(component, shutil.which(component))


OUT_OF_THE_KERNELS_RANGE = range(15_000, 32_000)


def free_port() -> int:
    """Return a port that nobody listens on, and that the kernel gives to nobody who asks for any."""
    while True:
        port = random.choice(OUT_OF_THE_KERNELS_RANGE)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def compress(text: str, factor: float) -> str:
    """Make every duration of a rules, Prometheus or Alertmanager file `factor` times shorter.

    But not how old the clock's measurement may be: the daemon measures once a minute, however short ours are.
    """
    if factor == 1:
        return text

    def shorter(match: re.Match[str]) -> str:
        return f"{match[1]}{round(int(match[2]) * _UNITS[match[3]] / factor * 1000)}ms"

    text = re.sub(r"(\[|(?:for|interval|timeout|wait): )(\d+)(ms|s|m|h)\b", shorter, text)
    heartbeat = re.compile(r"(clamp_min\(3 \* feedd_stale_after_seconds, )(\d+)")
    return heartbeat.sub(lambda match: f"{match[1]}{int(match[2]) / factor:g}", text)


# --- who is paged


@dataclass(frozen=True, slots=True)
class Notice:
    """One alert in one notification, as the webhook got it."""

    at: float
    """Monotonic seconds."""
    receiver: str
    status: str
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: datetime
    ends_at: datetime

    @property
    def name(self) -> str:
        return self.labels["alertname"]

    def is_about(self, name: str, **labels: str) -> bool:
        """Tell whether it is about that alert, having at least those labels."""
        return self.name == name and labels.items() <= self.labels.items()


class Webhook:
    """Stands in for everybody whom Alertmanager tells: a webhook, PagerDuty and Slack."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self.pagerduty: list[dict[str, Any]] = []
        self.slack: list[dict[str, Any]] = []
        self.url = ""
        self.tokens: set[str] = set()
        self._news = asyncio.Condition()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Webhook]:
        """Listen for a while."""
        app = web.Application()
        app.add_routes(
            [
                web.post("/pagerduty", self._take_pagerduty),
                web.post("/slack", self._take_slack),
                web.post("/{receiver}", self._take),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    def about(self, status: str, name: str, **labels: str) -> list[Notice]:
        """Return the notices of that status about that alert."""
        return [
            notice for notice in self.notices if notice.status == status and notice.is_about(name, **labels)
        ]

    async def wait(self, status: str, name: str, timeout: float, **labels: str) -> Notice:
        """Wait for the first such notice. Raises TimeoutError."""
        async with asyncio.timeout(timeout), self._news:
            await self._news.wait_for(lambda: self.about(status, name, **labels))
        return self.about(status, name, **labels)[0]

    async def _take(self, request: web.Request) -> web.Response:
        at = time.monotonic()
        self.tokens.add(request.headers.get("Authorization", ""))
        body = orjson.loads(await request.read())
        async with self._news:
            self.notices += [
                Notice(
                    at,
                    request.match_info["receiver"],
                    alert["status"],
                    alert["labels"],
                    alert["annotations"],
                    datetime.fromisoformat(alert["startsAt"]),
                    datetime.fromisoformat(alert["endsAt"]),
                )
                for alert in body["alerts"]
            ]
            self._news.notify_all()
        return web.Response()

    async def _take_pagerduty(self, request: web.Request) -> web.Response:
        self.pagerduty.append(orjson.loads(await request.read()))
        return web.json_response({"status": "success"}, status=202)

    async def _take_slack(self, request: web.Request) -> web.Response:
        self.slack.append(orjson.loads(await request.read()))
        return web.Response(text="ok")


# --- processes


@dataclass(slots=True)
class Process:
    """A program that was started here, and where its output goes."""

    process: asyncio.subprocess.Process
    log: Path

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, if it still runs."""
        if self.process.returncode is None:
            self.send(number)
            try:
                async with asyncio.timeout(10):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
                await self.process.wait()


async def start(log: Path, *command: str, **environ: str) -> Process:
    """Start a program that logs to that file."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=output, stderr=output, env=os.environ | environ
        )
    return Process(process, log)


async def answers(process: Process, url: str) -> None:
    """Wait until a page is 200. Raises AssertionError with the end of the log if it takes too long."""
    async with aiohttp.ClientSession() as http:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.process.returncode is None:
            try:
                async with http.get(url, timeout=aiohttp.ClientTimeout(total=1)) as response:
                    if response.status == 200:
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.05)
    raise AssertionError(f"{url} does not answer:\n{process.log.read_text(errors='replace')[-2000:]}")


@asynccontextmanager
async def alertmanager(folder: Path, webhook: Webhook, factor: float = 1.0) -> AsyncIterator[str]:
    """Run the shipped Alertmanager; yields its address. Whoever it means to tell is the webhook."""
    lay_out_alertmanager(folder, webhook.url, factor)
    address = f"127.0.0.1:{free_port()}"
    process = await start(
        folder / "alertmanager.log",
        "prometheus-alertmanager",
        f"--config.file={folder}/alertmanager.yml",
        f"--storage.path={folder}/data",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    )
    try:
        await answers(process, f"http://{address}/-/ready")
        yield f"http://{address}"
    finally:
        await process.stop()


def lay_out_alertmanager(folder: Path, webhook_url: str, factor: float = 1.0) -> None:
    """Put the shipped files as they are to be installed, with the secrets beside them."""
    shutil.copytree(ALERTMANAGER_FILES, folder, dirs_exist_ok=True)
    config = ALERTMANAGER_CONFIG.read_text()
    assert SECRETS in config and WEBHOOK in config
    config = config.replace(SECRETS, f"{folder}/secrets").replace(WEBHOOK, webhook_url)
    config = f"global: {{pagerduty_url: {webhook_url}/pagerduty}}\n{config}"
    (folder / "alertmanager.yml").write_text(compress(config, factor))
    (folder / "secrets" / "slack-url").write_text(f"{webhook_url}/slack")


@dataclass(frozen=True, slots=True)
class Target:
    """What Prometheus scrapes."""

    port: int
    labels: dict[str, str]

    def line(self) -> str:
        """Return it as a line of `static_configs`."""
        return f"      - {{targets: ['localhost:{self.port}'], labels: {orjson.dumps(self.labels).decode()}}}"


@asynccontextmanager
async def prometheus(
    folder: Path, alertmanager_url: str, targets: Iterable[Target], factor: float = 1.0
) -> AsyncIterator[str]:
    """Run the shipped Prometheus on these targets; yields its address."""
    lay_out_prometheus(folder, alertmanager_url, targets, factor)
    address = f"127.0.0.1:{free_port()}"
    process = await start(
        folder / "prometheus.log",
        "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={address}",
    )
    try:
        await answers(process, f"http://{address}/-/ready")
        yield f"http://{address}"
    finally:
        await process.stop()


def lay_out_prometheus(
    folder: Path, alertmanager_url: str, targets: Iterable[Target], factor: float = 1.0
) -> None:
    """Put the shipped files as they are to be installed, with other addresses."""
    rules = folder / "rules" / RULES.name
    rules.parent.mkdir(parents=True, exist_ok=True)
    rules.write_text(compress(RULES.read_text(), factor))
    config = PROMETHEUS_CONFIG.read_text()
    target = "      - targets: [localhost:9745]"
    for address in ("localhost:9093", target):
        assert config.count(address) == 1
    config = config.replace("localhost:9093", alertmanager_url.removeprefix("http://"))
    config = config.replace(target, "\n".join(each.line() for each in targets))
    (folder / "prometheus.yml").write_text(compress(config, factor))


# --- the daemon


class Daemon:
    """A feedd with an env-file, that can be stopped and started."""

    def __init__(self, folder: Path, **settings: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = {"FEEDD_LISTEN": f"127.0.0.1:{self.port}"} | settings
        self.env_file = folder / "feedd.env"
        self._log = folder / "feedd.log"
        self._process: Process | None = None

    @property
    def target(self) -> Target:
        return Target(self.port, {})

    @asynccontextmanager
    async def running(self, is_open: bool = True) -> AsyncIterator[Daemon]:
        """Run it for a while; it is there once every gate is open, or if told so, once it answers."""
        self.save()
        await self.start(is_open)
        try:
            yield self
        finally:
            await self.stop()

    def save(self, **settings: str) -> None:
        """Save the env-file with these settings changed, all at once."""
        self.settings |= settings
        text = "".join(f"{key}={value}\n" for key, value in self.settings.items())
        new = self.env_file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.env_file)

    async def start(self, is_open: bool = True) -> None:
        """Start it, and wait until it is there."""
        self._process = await start(
            self._log, sys.executable, "-m", "feedd", "run", "--env-file", str(self.env_file)
        )
        await answers(self._process, self.url + ("/gate?allow=static" if is_open else "/-/healthy"))

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop it."""
        if self._process is not None:
            await self._process.stop(number)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send(number)


# --- asking


async def ask(url: str, path: str, **parameters: str) -> Any:
    """Return what Prometheus's or Alertmanager's API answers."""
    async with aiohttp.ClientSession() as http, http.get(url + path, params=parameters) as response:
        body = orjson.loads(await response.read())
        assert response.status == 200, body
        return body


async def until(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    """Wait until something that tells nobody has become true. Raises TimeoutError."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110  # what is waited for are lists that many tasks write
            await asyncio.sleep(0.02)
