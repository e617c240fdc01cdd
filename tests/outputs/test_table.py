"""The table of outputs: each row makes the output that bears its name."""

from __future__ import annotations

import pytest

from feedd.config.settings import Settings
from feedd.core.daemon_state import DaemonState
from feedd.outputs.output import Output
from feedd.outputs.table import OUTPUTS, OutputContext, outputs_of
from feedd.outputs.ws.consumer import ConsumerRegistry
from tests.outputs.line_counter import LineCounter


def context() -> OutputContext:
    settings = Settings(realtime=True)
    return OutputContext(DaemonState(settings, 0.0, 0.0), ConsumerRegistry(settings))


@pytest.mark.parametrize("name", OUTPUTS)
def test_row_bears_the_name_of_what_it_makes(name: str) -> None:
    output = OUTPUTS[name](context())
    assert output is not None
    assert output.name == name


def test_outputs_are_told_in_the_order_of_the_table() -> None:
    assert [output.name for output in outputs_of(context())] == list(OUTPUTS)


def test_only_the_relay_has_a_fast_path_and_nobody_else_takes_messages() -> None:
    outputs = outputs_of(context())
    assert [output.name for output in outputs if output.fast_path is not None] == ["relay"]
    assert [output.name for output in outputs if type(output).deliver is not Output.deliver] == []


def test_row_that_makes_nothing_is_left_out() -> None:
    table = {"absent": lambda _: None, "line_counter": LineCounter.of}
    assert [output.name for output in outputs_of(context(), table)] == ["line_counter"]


def test_paths_at_the_http_side_are_each_answered_by_one_output() -> None:
    paths = [path for output in outputs_of(context()) for path in output.routes()]
    assert sorted(paths) == ["/gate/events", "/stream", "/stream/", "/ws", "/ws/{names:.*}"]
