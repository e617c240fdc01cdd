"""The env-file's syntax, the kill switch in broken files, and the edit of one value."""

from __future__ import annotations

from io import StringIO

import pytest
from dotenv.parser import parse_stream
from hypothesis import assume, example, given
from hypothesis import strategies as st

from feedd.config.env_file import (
    CLEAR_NO,
    KILL_SWITCH_KEY,
    Entry,
    edit_flag,
    is_legible,
    kill_switch_in,
    parse_env_file,
    quoted,
)
from feedd.errors import SettingsError

HALT = b"FLAG_TRADING_HALTED"


def entries_of(text: str) -> list[tuple[str, str, int]]:
    file = parse_env_file(text.encode(), "feedd.env")
    assert file.problems == ()
    return [(entry.key, entry.value, entry.line) for entry in file.entries]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("# only a comment", []),
        ("A=1", [("A", "1", 1)]),
        ("A=1\nB=2\n", [("A", "1", 1), ("B", "2", 2)]),
        ("\n\n# comment\n\nA=1\n\n\nB=2", [("A", "1", 5), ("B", "2", 8)]),
        ("A=1\r\n\r\nB=2\r\n", [("A", "1", 1), ("B", "2", 3)]),
        ("A=1\rB=2\r", [("A", "1", 1), ("B", "2", 2)]),
        ("\ufeffA=1\n", [("A", "1", 1)]),
        ("\ufeff\ufeffA=1\n", [("A", "1", 1)]),
        ("export A=1\n  export\tB = 2  \n", [("A", "1", 1), ("B", "2", 2)]),
        (
            "A='x y' # comment\nB=\"x\\ty\"\nC=x # comment\nD=x#y\n",
            [*zip("ABC", ("x y", "x\ty", "x"), (1, 2, 3), strict=True), ("D", "x#y", 4)],
        ),
        ("A='one\ntwo'\nB=1\n", [("A", "one\ntwo", 1), ("B", "1", 3)]),
        ("A=\nB= # comment\n", [("A", "", 1), ("B", "", 2)]),
        ("A=${HOME}$HOME\n", [("A", "${HOME}$HOME", 1)]),
        ("FEEDD_STALE_AFTER_SECONDS_币=1\n", [("FEEDD_STALE_AFTER_SECONDS_币", "1", 1)]),
        ("A=1\nA=2\n", [("A", "1", 1), ("A", "2", 2)]),
    ],
)
def test_good_file_gives_its_entries(text: str, expected: list[tuple[str, str, int]]) -> None:
    assert entries_of(text) == expected


NOT_CLOSED = "expected KEY=value, with any quotes closed"


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("FEEDD_SYMBOLS\n", ["f.env:1: syntax: expected KEY=value, found 'FEEDD_SYMBOLS'"]),
        ("\n\nFEEDD_LISTEN 1 2\n", [f"f.env:3: syntax: {NOT_CLOSED}, found 'FEEDD_LISTEN 1 2'"]),
        ("A=1\nFEEDD_SYMBOLS='BTC\n", [f'f.env:2: syntax: {NOT_CLOSED}, found "FEEDD_SYMBOLS=\'BTC"']),
        ("=1\n", [f"f.env:1: syntax: {NOT_CLOSED}, found '=…'"]),
        ("PASSWORD='secret\n", [f"f.env:1: syntax: {NOT_CLOSED}, found 'PASSWORD=…'"]),
        ("; comment\n", [f"f.env:1: syntax: {NOT_CLOSED}, found '; comment'"]),
        ("; A=1\n", [f"f.env:1: syntax: {NOT_CLOSED}, found '; A=…'"]),
        (";A=1\n", ["f.env:1: syntax: expected a key of letters, digits and _, found ';A=…'"]),
        ("FEEDD-X=1\n", ["f.env:1: syntax: expected a key of letters, digits and _, found 'FEEDD-X=…'"]),
        ("export FLAG_X='\n", [f'f.env:1: syntax: {NOT_CLOSED}, found "export FLAG_X=\'"']),
        ("x" * 70, [f"f.env:1: syntax: expected KEY=value, found '{'x' * 60}…'"]),
        (
            "one two\r\nthree four\r\n\r\nfive six\r\n",
            [
                f"f.env:1: syntax: {NOT_CLOSED}, found 'one two'",
                f"f.env:2: syntax: {NOT_CLOSED}, found 'three four'",
                f"f.env:4: syntax: {NOT_CLOSED}, found 'five six'",
            ],
        ),
    ],
)
def test_bad_line_is_a_problem_with_its_line(text: str, messages: list[str]) -> None:
    assert [str(problem) for problem in parse_env_file(text.encode(), "f.env").problems] == messages


def test_entry_after_a_bad_line_is_still_read() -> None:
    file = parse_env_file(b"A='x\r\nB=1\r\n", "f.env")
    assert file.entries == (Entry("B", "1", 2),)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\xff\xfeA\x00", "f.env:1: encoding: expected UTF-8 text, found byte 0xff at position 0"),
        (b"A=1\r\nB=\xe9\n", "f.env:2: encoding: expected UTF-8 text, found byte 0xe9 at position 7"),
        (b"A=1\nB=\xe5\xb8", "f.env:2: encoding: expected UTF-8 text, found byte 0xe5 at position 6"),
    ],
)
def test_file_that_is_not_utf8_is_refused(raw: bytes, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_env_file(raw, "f.env")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"A=1", True),
        (b"# comment", True),
        (b"rubbish", True),
        (b"", False),
        (b" \r\n\t\n", False),
        (b"\xef\xbb\xbf", False),
        (b"\x00" * 4096, False),
        (b"\x00\n\x00 \xef\xbb\xbf\n", False),
        (b"A=\xff", False),
        ("A=1".encode("utf-16"), False),
    ],
)
def test_is_legible(raw: bytes, expected: bool) -> None:
    assert is_legible(raw) is expected


HALTED = [
    HALT + b"=1",
    HALT + b"=true\n",
    HALT + b"=YES\r\n",
    HALT + b"=on # drill",
    HALT + b"='1'\n",
    HALT + b'="1"\n',
    HALT + b"=\n",
    HALT + b"\n",
    HALT + b"= # 0\n",
    HALT + b"=''\n",
    HALT + b"=garbage\n",
    HALT + b"=00\n",
    HALT + b"=0#\n",
    HALT + b"=-0\n",
    HALT + b"=0 1\n",
    HALT + b"=0;\n",
    HALT + b"=${HALT}\n",
    HALT + b'="0\n',
    HALT + b"='0\"\n",
    HALT + b'=""0\n',
    HALT + b" = 1\n",
    HALT + b": 1\n",
    HALT + b" 1\n",
    b"export " + HALT + b"=1\n",
    b"  export\t" + HALT + b"=1\n",
    b"'" + HALT + b"'=1\n",
    b'"' + HALT + b'"=1\n',
    b"\xef\xbb\xbf" + HALT + b"=1\n",
    b"\xef\xbb\xbf\xef\xbb\xbf" + HALT + b"=1\n",
    b"\xe2\x80\x8b" + HALT + b"=1\n",
    b"\xff" + HALT + b"=1\n",
    b"flag_trading_halted=1\n",
    b"A=1\r" + HALT + b"=1\r",
    HALT + b"=0\n" + HALT + b"=1\n",
    HALT + b"=1\n" + HALT + b"=0\n",
    b"caf\xe9=\xff\xff\n" + HALT + b"=1\n\xfe",
    HALT + b"=\xff\n",
    b"'not closed\n" + HALT + b"=1\n",
    b'A="not closed\n' + HALT + b'=1\nB="\n',
    b"no assignment here\n=\n\n" + HALT + b"=1\n",
    (KILL_SWITCH_KEY + "=1\n").encode("utf-16"),
    b"\x00\x00" + HALT + b"=1\n",
    HALT + b"=0\x00\n",
    b"FEEDD_SYMBOLS=BTCUSDT" + HALT + b"=1\n",
    b"FLAG_REALTIME=1" + HALT + b"='yes'\n",
    b"  FLAG_REALTIME=1 " + HALT + b"=1\n",
]

NOT_HALTED = [
    b"",
    b"FLAG_REALTIME=1\n",
    HALT + b"=0",
    HALT + b"=0\n",
    HALT + b"=false\r\n",
    HALT + b"=No\n",
    HALT + b"=OFF\n",
    HALT + b"='0'\n",
    HALT + b'="off" # until the drill\n',
    HALT + b'="0"#1\n',
    HALT + b" = 0 # 1\n",
    HALT + b": 0\n",
    b"export " + HALT + b"=no\n",
    b"#" + HALT + b"=1\n",
    b"  # " + HALT + b"=1\n",
    b"#A=1 " + HALT + b"=1\n",
    b";" + HALT + b"=1\n",
    b"FEEDD_SYMBOLS=BTCUSDT # " + HALT + b"=1\n",
    b"OLD_" + HALT + b"=1\n",
    b"A=1OLD_" + HALT + b"=1\n",
    HALT + b"_OLD=1\n",
    HALT + b"2=1\n",
    b"FEEDD_SYMBOLS=BTCUSDT" + HALT + b"=0\n",
    b"NOTE='see " + HALT + b"'\n",
    b"see " + HALT + b"=1\n",
    HALT[:-1] + b"=1\n",
    b"\xff\xfe\xfd",
]


@pytest.mark.parametrize("raw", HALTED)
def test_legible_kill_switch_halts_however_broken_the_file(raw: bytes) -> None:
    assert kill_switch_in(raw)


@pytest.mark.parametrize("raw", NOT_HALTED)
def test_no_kill_switch_no_halt(raw: bytes) -> None:
    assert not kill_switch_in(raw)
    assert not kill_switch_in(raw, half_saved=True)


@pytest.mark.parametrize("word", CLEAR_NO)
@pytest.mark.parametrize("mark", ["", "'", '"'])
@pytest.mark.parametrize("gap", ["", " "])
def test_file_that_grows_to_a_clear_no_never_halts(word: str, mark: str, gap: str) -> None:
    whole = f"A=1\n{KILL_SWITCH_KEY}{gap}={gap}{mark}{word}{mark}{gap} # not now\nB=1\n".encode()
    assert not any(kill_switch_in(whole[:size], half_saved=True) for size in range(len(whole) + 1))


@pytest.mark.parametrize(
    ("raw", "half_saved", "settled"),
    [
        (HALT + b"=", False, True),
        (HALT + b"", False, True),
        (HALT + b"=o", False, True),
        (HALT + b"='", False, True),
        (HALT + b"=on", True, True),
        (HALT + b"=1", True, True),
        (HALT + b"=x", True, True),
        (HALT + b"=\n", True, True),
        (HALT + b"=1\n" + HALT + b"=", True, True),
        (HALT + b"=0\n" + HALT + b"=", False, True),
    ],
)
def test_last_line_without_its_end_waits_only_while_it_could_become_a_no(
    raw: bytes, half_saved: bool, settled: bool
) -> None:
    assert kill_switch_in(raw, half_saved=True) is half_saved
    assert kill_switch_in(raw) is settled


def test_kill_switches_are_found_with_their_lines_and_texts() -> None:
    text = (
        f"{KILL_SWITCH_KEY}=0\nexport {KILL_SWITCH_KEY}='maybe' # x\n"
        f"A=1{KILL_SWITCH_KEY}= 1\n{KILL_SWITCH_KEY}: yes\n{KILL_SWITCH_KEY}\n"
    )
    file = parse_env_file(text.encode(), "f.env")
    assert [(entry.value, entry.line) for entry in file.kill_switches] == [
        ("maybe", 2),
        ("1", 3),
        (": yes", 4),
        ("", 5),
    ]


# Text in which env-file syntax is likely.
PIECES = st.sampled_from(
    [
        *("\n", "\r\n", "\r", " ", "\t", "=", "#", "'", '"', "\\", "export ", "\ufeff", "\x0c", "\x85", "\0"),
        *("K", "FLAG_REALTIME", KILL_SWITCH_KEY, "A", "B_", "0", "1", "no", "false", "x y", "${A}", "币"),
    ]
)
LINES = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", " ", "export ", "# ", "\n"]),
        st.sampled_from(["K", "'K'", "A", "B", KILL_SWITCH_KEY]),
        st.sampled_from(["=", " = ", "= ", ""]),
        st.sampled_from(
            ["", "0", "1", "'0'", '"no"', "'a\nb'", "x y", "#x", "'open", "0 # note", "'0'#note"]
        ),
        st.sampled_from(["", " ", " # note", "#"]),
        st.sampled_from(["\n", "\r\n", "\r", "\n\n", ""]),
    ),
)
TEXTS = st.one_of(
    st.builds("".join, st.lists(PIECES)), st.builds("".join, st.lists(LINES)), st.text(max_size=40)
)


def values_by_parser(text: str) -> list[tuple[str | None, str | None]]:
    bindings = parse_stream(StringIO(text.lstrip("\ufeff")))
    return [(found.key, found.value) for found in bindings if found.key is not None]


@given(text=TEXTS)
def test_kill_switch_that_the_parser_sees_is_never_missed(text: str) -> None:
    raw = text.encode(errors="replace")
    values = [value for key, value in values_by_parser(raw.decode()) if key == KILL_SWITCH_KEY]
    if any((value or "").strip().lower() not in CLEAR_NO for value in values):
        assert kill_switch_in(raw)
        assert parse_env_file(raw, "f.env").kill_switches


@given(raw=st.one_of(st.binary(), TEXTS.map(lambda text: text.encode(errors="replace"))))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    assert isinstance(kill_switch_in(raw), bool)
    assert kill_switch_in(raw) or not kill_switch_in(raw, half_saved=True)
    try:
        file = parse_env_file(raw, "f.env")
    except SettingsError:
        assert not is_legible(raw)
    else:
        lines = len(raw.splitlines()) + 1
        assert all(1 <= entry.line <= lines for entry in (*file.entries, *file.kill_switches))


@given(value=st.text(st.characters(exclude_categories=["Cs"])))
def test_quoted_value_is_read_back(value: str) -> None:
    assume("\0" not in value)
    assert entries_of(f"A={quoted(value)}  # comment\n")[0][1] == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "K=1\n"),
        ("\ufeff", "\ufeffK=1\n"),
        ("K=0", "K=1"),
        ("K=0\n", "K=1\n"),
        ("\ufeffK=0\r\nA=1\r\n", "\ufeffK=1\r\nA=1\r\n"),
        ("A=1", "A=1\nK=1\n"),
        ("A=1\r\nB=2", "A=1\r\nB=2\r\nK=1\r\n"),
        ("A=1\r\n", "A=1\r\nK=1\r\n"),
        ("A=1\rK=0\r", "A=1\rK=1\r"),
        ("# K=0\n", "# K=0\nK=1\n"),
        ("#K=0", "#K=0\nK=1\n"),
        ("\n\n  export K = 0  # why\nA=1\n", "\n\n  export K = 1  # why\nA=1\n"),
        ("K='0'# why\n", "K='1'# why\n"),
        ('K="0" # why\n', 'K="1" # why\n'),
        ("K='one\ntwo'\nA=1\n", "K='1'\nA=1\n"),
        ("K=\n", "K=1\n"),
        ("K= # why\n", "K= 1 # why\n"),
        ("K=#x\n", "K=1\n"),
        ("K\n", "K=1\n"),
        ("K # why\n", "K=1 # why\n"),
        ("K#why\n", "K=1 #why\n"),
        ("'K'=0\n", "'K'=1\n"),
        ("K=0\nA=1\nK=yes # b\n", "K=1\nA=1\nK=1 # b\n"),
        ("KK=0\nAK=0\n", "KK=0\nAK=0\nK=1\n"),
        ("A='K=0\n'\n", "A='K=0\n'\nK=1\n"),
        ("A='open\n", "A='open\nK=1\n"),
    ],
)
def test_edit_changes_only_the_value(text: str, expected: str) -> None:
    assert edit_flag(text, "K", "1") == expected


@pytest.mark.parametrize("value", ["a b", "a#b", "'", '"', "\\", "a\nb", "\0"])
def test_edit_refuses_a_value_that_needs_quotes(value: str) -> None:
    with pytest.raises(ValueError, match="expected a value without blanks, quotes, backslashes or #"):
        edit_flag("K=0\n", "K", value)


@given(text=TEXTS, value=st.sampled_from(["0", "1", "", "yes", "a,b", "127.0.0.1:1", "${X}"]))
@example(text="K#", value="")
def test_edit_sets_the_key_and_leaves_the_others(text: str, value: str) -> None:
    edited = edit_flag(text, "K", value)
    before, after = values_by_parser(text), values_by_parser(edited)
    assert [item for item in after if item[0] != "K"] == [item for item in before if item[0] != "K"]
    count = sum(key == "K" for key, _ in before)
    assert [item for item in after if item[0] == "K"] == [("K", value)] * max(count, 1)
    assert edit_flag(edited, "K", value) == edited


@given(text=TEXTS, value=st.sampled_from(["0", "1"]))
def test_edit_back_restores_a_file_that_had_the_plain_value(text: str, value: str) -> None:
    once = edit_flag(text, "K", value)
    assert edit_flag(edit_flag(once, "K", "other"), "K", value) == once
