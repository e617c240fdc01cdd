"""Tries what a hijacked daemon would, and prints what came of each attempt. Tests run it in the sandbox.

It takes a Python without packages. `done` is a success, anything else the name of the error.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

THREADS = 200


def call(name: str, *arguments: int) -> None:
    """Call a function of the C library that reports failure by -1."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


def write_in(folder: str) -> Callable[[], object]:
    def write() -> None:
        path = Path(folder) / f"probe-{os.getpid()}"
        path.write_text("x")
        path.unlink()

    return write


def trace() -> None:
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        if status:
            raise OSError(os.waitstatus_to_exitcode(status), "trace")
        return
    error = 0
    try:
        call("ptrace", 0, 0, 0, 0)  # to be traced by its parent
    except OSError as failure:
        error = failure.errno or 255
    os._exit(error)


def run_in(folder: str) -> Callable[[], object]:
    def run() -> None:
        path = Path(folder) / f"probe-{os.getpid()}"
        try:
            shutil.copy("/bin/true", path)
            path.chmod(0o755)
            subprocess.run([path], check=True)
        finally:
            path.unlink()

    return run


def make_setuid() -> None:
    path = Path("/tmp") / f"probe-{os.getpid()}"
    try:
        path.touch()
        path.chmod(0o4755)
    finally:
        path.unlink()


def see_others() -> None:
    if not Path("/proc/1/status").exists():
        raise FileNotFoundError(errno.ENOENT, "process 1")


def start_threads() -> None:
    end = threading.Event()
    threads = [threading.Thread(target=end.wait) for _ in range(THREADS)]
    started = []
    try:
        for thread in threads:
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, "threads") from error
    finally:
        end.set()
        for thread in started:
            thread.join()


NEEDED: dict[str, Callable[[], object]] = {
    "read the env-file": Path("/etc/feedd/feedd.env").read_text,
    "look for CSV files": lambda: list(Path("/var/lib/feedd").iterdir()),
    "open an Internet socket": lambda: socket.socket(socket.AF_INET).close(),
    "open a Unix socket": lambda: socket.socket(socket.AF_UNIX).close(),
    "read its own state": Path("/proc/self/stat").read_text,
}
FORBIDDEN: dict[str, Callable[[], object]] = {
    "write in /etc": write_in("/etc"),
    "write in /opt/feedd": write_in("/opt/feedd"),
    "write in /usr": write_in("/usr"),
    "write in /var/lib/feedd": write_in("/var/lib/feedd"),
    "write in /run": write_in("/run"),
    "write in /run/lock": write_in("/run/lock"),
    "write in /dev": write_in("/dev"),
    "see homes": lambda: list(Path("/home").iterdir()),
    "see root's home": lambda: list(Path("/root").iterdir()),
    "see other processes": see_others,
    "see the machine": Path("/proc/cpuinfo").read_text,
    "change its priority": lambda: os.nice(1),
    "trace": trace,
    "change its personality": lambda: call("personality", 0x0400000),
    "enter a user namespace": lambda: call("unshare", 0x10000000),
    "write and run memory": lambda: mmap.mmap(
        -1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_WRITE | mmap.PROT_EXEC
    ).close(),
    "run from /tmp": run_in("/tmp"),
    "run from /var/tmp": run_in("/var/tmp"),
    "make a file setuid": make_setuid,
    "open a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
    f"start {THREADS} threads": start_threads,
}
STATUS = ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp_filters")
FOLDERS = ("/", "/etc", "/opt/feedd", "/usr", "/var", "/var/lib/feedd", "/run", "/run/lock")


def outcome(attempt: Callable[[], object]) -> str:
    """Make an attempt. Returns what came of it."""
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    return "done"


def main() -> None:
    """Make all attempts and print what came of them."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    found = {
        "status": {key: status[key] for key in STATUS},
        "writable": [folder for folder in FOLDERS if not os.statvfs(folder).f_flag & os.ST_RDONLY],
        "attempts": {name: outcome(attempt) for name, attempt in (NEEDED | FORBIDDEN).items()},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
