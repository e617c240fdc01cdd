"""A throw-away machine: a real systemd as process 1, over a copy-on-write view of this one's disk.

systemd-nspawn boots it in a private network in about a second. Whatever is done in it is gone when it stops.
It takes root, and an overlay file system.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from tests.system_components import needs

BOOT_SECONDS: Final = 30.0
STOP_SECONDS: Final = 10.0
CALL_SECONDS: Final = 30.0
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Without them systemd in the box silently ignores MemoryMax=, TasksMax= and the like.
CONTROLLERS: Final = ("memory", "pids", "cpu", "cpuacct", "devices")
# What a fresh Debian does by itself some minutes after it has booted.
MASKED: Final = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "man-db.timer",
    "systemd-timesyncd.service",
)

# In namespaces of its own, which take the overlay and every process with them, whatever ends them.
_BOOT = """
for group in $GROUPS_OF_BOX; do echo $$ >"$group/cgroup.procs"; done
mount -t tmpfs -o mode=0755 tmpfs "$FOLDER"
mkdir "$FOLDER/upper" "$FOLDER/work" "$FOLDER/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$FOLDER/upper,workdir=$FOLDER/work" "$FOLDER/root"
exec systemd-nspawn --quiet --directory="$FOLDER/root" --boot --register=no --keep-unit --private-network \
    --notify-ready=yes --console=pipe --link-journal=no "$@"
"""

_numbers = count(1)

T = TypeVar("T")


def require_box() -> None:
    """Skip the test where no box can be started, or fail it where that is required."""
    needs("root", os.geteuid() == 0)
    needs("systemd-nspawn (Debian's systemd-container)", shutil.which("systemd-nspawn"))
    needs("an overlay file system", "\toverlay\n" in Path("/proc/filesystems").read_text())


class Box:
    """One machine. `with Box({folder: "/srv/x"}) as box:` shows it that folder, read-only."""

    def __init__(self, shows: Mapping[Path, str] | None = None) -> None:
        self.name = f"feedd-box-{os.getpid()}-{next(_numbers)}"
        self.pid1 = 0
        """Its process 1, as this machine numbers it."""
        self._shows = dict(shows or {})
        self._folder = Path()
        self._groups: list[Path] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._network: _InNetwork | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Boot. Raises AssertionError, with the console's last lines, if that doesn't succeed."""
        self._folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self._groups = list(_make_groups(self.name))
        with _notify_socket(self._folder / "notify") as notified:
            self._process = self._boot()
            self._wait_ready(notified)
        self._hand_over_groups()
        self._network = _InNetwork(self.pid1)

    def _boot(self) -> subprocess.Popen[bytes]:
        mount_point = self._folder / "disk"
        mount_point.mkdir()
        flags = [f"--machine={self.name}", *(f"--bind-ro={path}:{at}" for path, at in self._shows.items())]
        # basic.target: this machine's own services have no part in the tests.
        kernel = ["systemd.unit=basic.target", *(f"systemd.mask={unit}" for unit in MASKED)]
        # Nothing of this may survive the tests, not even when they are killed.
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"]
        command += ["--pid", "--fork", "--kill-child", "--mount-proc"]
        with self._console.open("wb") as console:
            return subprocess.Popen(
                [*command, "sh", "-euc", _BOOT, "boot", *flags, *kernel],
                env={
                    "PATH": PATH,
                    "FOLDER": str(mount_point),
                    "GROUPS_OF_BOX": " ".join(map(str, self._groups)),
                    "NOTIFY_SOCKET": str(self._folder / "notify"),
                },
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    @property
    def _console(self) -> Path:
        return self._folder / "console"

    def _wait_ready(self, notified: socket.socket) -> None:
        assert self._process is not None
        deadline = time.monotonic() + BOOT_SECONDS
        notified.settimeout(0.1)
        while True:
            with suppress(TimeoutError):
                if "READY=1" in notified.recv(4096).decode().split("\n"):
                    (nspawn,) = _children(self._process.pid)
                    (self.pid1,) = _children(nspawn)
                    return
            is_over = self._process.poll() is not None or time.monotonic() > deadline
            assert not is_over, "the box does not boot:\n" + self._console.read_text(errors="replace")[-2000:]

    def _hand_over_groups(self) -> None:
        for controller in CONTROLLERS:
            mounted = Path(f"/sys/fs/cgroup/{controller}")
            if mounted.exists():
                self.run("mount", "-o", "remount,rw,bind", str(mounted), namespaces=("--mount",))
        # Now systemd sees which it may use.
        self.run("systemctl", "daemon-reexec")

    def stop(self) -> None:
        """Power off, and leave nothing behind."""
        if self._network is not None:
            self._network.stop()
            self._network = None
        if self._process is not None:
            self._power_off(self._process)
            self._process = None
        for group in self._groups:
            _remove_group(group)
        self._groups = []
        if self._folder != Path():
            shutil.rmtree(self._folder)
            self._folder = Path()

    def _power_off(self, process: subprocess.Popen[bytes]) -> None:
        if self.pid1 and process.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid1, signal.SIGRTMIN + 4)  # man systemd: starts poweroff.target
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        if process.poll() is None:
            process.kill()  # which takes all that runs in the box with it
        process.wait()

    # --- what tests do in it

    def run(
        self,
        *command: str,
        check: bool = True,
        given: str | None = None,
        timeout: float = CALL_SECONDS,
        namespaces: Sequence[str] = ("--all",),
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root. Raises AssertionError, with what it said, if it fails and `check` is on."""
        done = subprocess.run(
            ["nsenter", f"--target={self.pid1}", *namespaces, "--", *command],
            env={"PATH": PATH, "LANG": "C.UTF-8", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""},
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        said = done.stdout + done.stderr
        assert not check or done.returncode == 0, f"{' '.join(command)}: exit {done.returncode}\n{said}"
        return done

    def path(self, path: str) -> Path:
        """Return where one of its files is for this process."""
        return Path(f"/proc/{self.pid1}/root{path}")

    def call(self, coroutine: Coroutine[Any, Any, T], timeout: float = CALL_SECONDS) -> T:
        """Run a coroutine of this process in the box's network. All of them share an event loop."""
        assert self._network is not None
        return self._network.call(coroutine, timeout)


class _InNetwork:
    """A thread with an event loop, in the network of another process."""

    def __init__(self, pid: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._entered = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(pid,), name=f"network of {pid}", daemon=True)
        self._thread.start()
        assert self._entered.wait(CALL_SECONDS), "can't enter the box's network"

    def _work(self, pid: int) -> None:
        with open(f"/proc/{pid}/ns/net", "rb") as namespace:  # noqa: PTH123  # setns takes a descriptor
            _enter_network(namespace.fileno())
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._entered.set)
        self._loop.run_forever()

    def call(self, coroutine: Coroutine[Any, Any, T], timeout: float) -> T:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


def _enter_network(descriptor: int) -> None:
    # os.setns came with Python 3.12.
    libc = ctypes.CDLL(None, use_errno=True)
    new_network = 0x40000000
    if libc.setns(descriptor, new_network):
        raise OSError(ctypes.get_errno(), "setns")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def _notify_socket(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        yield listener


def _make_groups(name: str) -> Iterator[Path]:
    """Make a control group for the box in every hierarchy that it needs, below this process's own."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, own = line.split(":", 2)
        mounted = _mounted(controllers)
        if mounted is not None:
            group = mounted / own.lstrip("/") / name
            group.mkdir(exist_ok=True)
            yield group


def _mounted(controllers: str) -> Path | None:
    """Return where the hierarchy of these controllers is; None if it isn't, or the box has no use for it."""
    base = Path("/sys/fs/cgroup")
    if not controllers:  # cgroup 2, which is all there is, or beside the older kind
        return next((at for at in (base, base / "unified") if (at / "cgroup.procs").exists()), None)
    wanted = (*CONTROLLERS, "name=systemd")
    found = next((one for one in controllers.split(",") if one in wanted), None)
    if found is None:
        return None
    at = base / found.removeprefix("name=")
    return at if at.exists() else None


def _remove_group(group: Path) -> None:
    # The kernel takes a moment to see that the last process is gone.
    deadline = time.monotonic() + STOP_SECONDS
    while group.exists() and time.monotonic() < deadline:
        for folder, _, _ in os.walk(group, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()
        if group.exists():
            time.sleep(0.02)
