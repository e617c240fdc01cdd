"""Counts what feedd's own code does, instruction by instruction: figures that no noise can touch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import feedd

_HOME = str(Path(feedd.__file__).parent)


@dataclass
class Count:
    """What was done in functions of feedd, in this thread."""

    calls: int = 0
    """Of feedd's functions by whomever, and of all functions by feedd's."""
    instructions: int = 0
    """Of the interpreter, in feedd's functions."""


@contextmanager
def counting_calls() -> Iterator[Count]:
    """Count calls while the block runs."""
    count = Count()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event in ("call", "c_call") and frame.f_code.co_filename.startswith(_HOME):
            count.calls += 1

    sys.setprofile(note)
    try:
        yield count
    finally:
        sys.setprofile(None)


@contextmanager
def counting_instructions() -> Iterator[Count]:
    """Count instructions while the block runs, which takes it a hundred times longer."""
    count = Count()

    def enter(frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(_HOME):
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return note

    def note(frame: FrameType, event: str, _: Any) -> Any:
        count.instructions += event == "opcode"
        return note

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        yield count
    finally:
        sys.settrace(before)
