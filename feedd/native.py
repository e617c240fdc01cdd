"""Does this feedd run compiled? It does where there was a C compiler when it was installed (setup.py)."""

from __future__ import annotations

from importlib.util import find_spec


def is_native() -> bool:
    """Tell whether what every message passes through is native code."""
    spec = find_spec("feedd.core.symbol_state")
    return spec is not None and spec.origin is not None and not spec.origin.endswith(".py")
