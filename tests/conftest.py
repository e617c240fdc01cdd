"""Property tests here are judged by what they find, not by how busy the machine is.

The suite runs on what was compiled, and parts of it on the interpreted sources (Makefile, `unit`).
"""

from __future__ import annotations

import pytest
from hypothesis import settings

from feedd.native import is_native

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


def pytest_report_header() -> str:
    return f"feedd: {'native' if is_native() else 'interpreted'}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if is_native() and item.get_closest_marker("interpreted"):
            item.add_marker(
                pytest.mark.skip(reason="reaches into code that is compiled here; make unit-broken runs it")
            )
