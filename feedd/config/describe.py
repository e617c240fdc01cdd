"""Tells an operator of settings in an env-file's own words: those in force, what changed, and a sample."""

from __future__ import annotations

from dataclasses import dataclass

from feedd.config.env_file import quoted
from feedd.config.keys import KEYS, PER_SYMBOL_KEY, PER_SYMBOL_PREFIX, Key, key_named
from feedd.config.resolve import Resolved
from feedd.config.settings import Settings


def describe(resolved: Resolved) -> list[str]:
    """Return the effective settings, a line each: `KEY=value  # origin`. The lines are a valid env-file."""
    return [
        f"{name}={quoted(text)}  # {resolved.origins[name]}"
        for name, text in _texts(resolved.settings).items()
    ]


@dataclass(frozen=True, slots=True)
class SettingChange:
    """A key whose value is not what it was. An unset value is empty."""

    key: str
    old: str
    new: str
    is_live: bool
    """False: the change takes a restart."""

    def __str__(self) -> str:
        return f"{self.key}: {self.old!r} -> {self.new!r}"


def differences(old: Settings, new: Settings) -> tuple[SettingChange, ...]:
    """Return what changes from `old` to `new`, key by key."""
    before, after = _texts(old), _texts(new)
    names = (*after, *(name for name in before if name not in after))
    return tuple(
        SettingChange(name, before.get(name, ""), after.get(name, ""), _is_live(name))
        for name in names
        if before.get(name) != after.get(name)
    )


def _is_live(name: str) -> bool:
    key = key_named(name)
    return key is not None and key.is_live


def sample() -> str:
    """Return an env-file for a person to start from: every key with its default, meaning and use."""
    return "\n".join([_SAMPLE_HEAD, *map(_sample_of, KEYS)])


_SAMPLE_HEAD = """\
# feedd's configuration, in UTF-8. A line is KEY=value; variables are not expanded.
# A saved change acts by itself; `systemctl reload feedd` forces a re-read. `feedd check` validates it.
"""


def _sample_of(key: Key) -> str:
    about = f"# {key.meaning}\n# Change it when {key.change_when}\n"
    if key is PER_SYMBOL_KEY:
        return f"{about}#{PER_SYMBOL_PREFIX}BTCUSDT={_text_of(Settings().stale_after_seconds)}\n"
    # The flags are there to be flipped; any other default may improve with a new release.
    mark = "" if key.name.startswith("FLAG_") else "#"
    return f"{about}{mark}{key.name}={_text_of(getattr(Settings(), key.field))}\n"


def _texts(settings: Settings) -> dict[str, str]:
    """Return each key's value as it would stand in an env-file."""
    texts = {}
    for key in KEYS:
        if key is PER_SYMBOL_KEY:
            for symbol, seconds in settings.stale_after_by_symbol.items():
                texts[f"{PER_SYMBOL_PREFIX}{symbol}"] = _text_of(seconds)
        else:
            texts[key.name] = _text_of(getattr(settings, key.field))
    return texts


def _text_of(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)
