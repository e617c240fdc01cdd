"""Real components that tests talk to: a missing one is a reason to skip, but where CI runs, to fail."""

from __future__ import annotations

import os

import pytest


def needs(component: str, found: object) -> None:
    """Skip the test if a component was not found; fail it where all of them must be there."""
    if found:
        return
    if os.environ.get("FEEDD_REQUIRE_SYSTEM") == "1":
        pytest.fail(f"{component} is not here, and FEEDD_REQUIRE_SYSTEM=1 forbids to go on without")
    pytest.skip(f"{component} is not here")
