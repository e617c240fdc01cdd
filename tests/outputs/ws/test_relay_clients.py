"""Existing clients of Binance at the relay, each unmodified: they get every trade, in order.

What runs is in tests/relay_clients; here is what the exchange has sent, to compare with.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from feedd.core.stream_state import StreamState
from feedd.exchange import Exchange, ExchangeSettings
from tests.running import running, settings_for
from tests.system_components import needs

PROJECT = Path(__file__).parents[3]
PYTHON = PROJECT / ".venv-clients/bin/python"
TRADES = 100
STREAMS = "trade,aggTrade,bookTicker,kline_1s"

Trade = tuple[int, Decimal, Decimal]
"""Id, price, quantity."""

# What a certificate for 127.0.0.1 is made with; `cryptography` comes with the clients.
MAKE_CERTIFICATE = """
import datetime, ipaddress, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "feedd's tests")])
now = datetime.datetime.now(datetime.timezone.utc)
address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
certificate = (
    x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    .serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(hours=1))
    .add_extension(address, critical=False).sign(key, hashes.SHA256())
)
pem, text = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
sys.stdout.buffer.write(key.private_bytes(pem, text, serialization.NoEncryption()))
sys.stdout.buffer.write(certificate.public_bytes(pem))
"""


class Sent:
    """What the exchange has sent of one symbol, by event."""

    def __init__(self) -> None:
        self.trades: dict[str, list[Trade]] = {"trade": [], "aggTrade": []}

    def deliver(self, stream_state: StreamState, raw: bytes) -> None:
        if stream_state.symbol == "BTCUSDT" and stream_state.stream.name in self.trades:
            data = orjson.loads(raw)["data"]
            number = data["t" if stream_state.stream.name == "trade" else "a"]
            self.trades[stream_state.stream.name].append((number, Decimal(data["p"]), Decimal(data["q"])))


async def run_client(name: str, relay: str, exchange: Exchange, **environ: str) -> list[Trade]:
    """Run a client until it has its trades; returns them."""
    client = await asyncio.create_subprocess_exec(
        PYTHON,
        "-m",
        f"tests.relay_clients.with_{name}",
        relay,
        exchange.rest_url,
        str(TRADES),
        cwd=PROJECT,
        env=os.environ | environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30):
            output, errors = await client.communicate()
    finally:
        with suppress(ProcessLookupError):
            client.kill()
    assert client.returncode == 0, errors.decode()
    return [_trade(json.loads(line)) for line in output.splitlines() if line.startswith(b"[")]


def _trade(reported: list[Any]) -> Trade:
    number, price, quantity = reported
    return number, Decimal(price), Decimal(quantity)


def assert_received_every_trade_in_order(received: list[Trade], sent: list[Trade]) -> None:
    assert len(received) == TRADES
    first = sent.index(received[0])
    assert received == sent[first : first + TRADES]


@pytest.mark.parametrize("name", ["websockets", "picows", "python_binance", "ccxt", "unicorn"])
async def test_client_receives_every_trade_in_order(name: str) -> None:
    needs("the clients' environment (make .venv-clients/.installed)", PYTHON.exists())
    sent = Sent()
    async with (
        Exchange(ExchangeSettings(symbols=("BTCUSDT", "ETHUSDT"), rate=100.0)) as exchange,
        running(settings_for(exchange, FEEDD_STREAMS=STREAMS), sent.deliver) as feedd,
    ):
        await feedd.until_open()
        received = await run_client(name, feedd.url.replace("http", "ws"), exchange)
    assert_received_every_trade_in_order(received, sent.trades["trade"])


async def test_client_that_insists_on_tls_receives_every_trade_in_order(tmp_path: Path) -> None:
    needs("the clients' environment (make .venv-clients/.installed)", PYTHON.exists())
    sent = Sent()
    certificate = await _make_certificate(tmp_path)
    async with (
        Exchange(ExchangeSettings(symbols=("BTCUSDT", "ETHUSDT"), rate=200.0)) as exchange,
        running(settings_for(exchange, FEEDD_STREAMS=STREAMS), sent.deliver) as feedd,
        _tls_in_front(feedd.url, certificate) as relay,
    ):
        await feedd.until_open()
        received = await run_client("cryptofeed", relay, exchange, SSL_CERT_FILE=str(certificate))
    assert_received_every_trade_in_order(received, sent.trades["aggTrade"])


async def _make_certificate(folder: Path) -> Path:
    maker = await asyncio.create_subprocess_exec(
        PYTHON, "-c", MAKE_CERTIFICATE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await maker.communicate()
    assert maker.returncode == 0
    path = folder / "certificate.pem"
    path.write_bytes(output)
    return path


@asynccontextmanager
async def _tls_in_front(url: str, certificate: Path) -> AsyncIterator[str]:
    """Put what a reverse proxy is in front of the daemon; yields its address."""
    host, _, port = url.removeprefix("http://").partition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_pump(reader, behind_writer), _pump(behind_reader, writer))

    server = await asyncio.start_server(forward, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
