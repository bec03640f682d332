"""Trace contexts of strangers: what is carried on, and what is as if it was not there."""

import subprocess
import sys
from pathlib import Path

import pytest

from oyez.contract.command_codec import split_trace
from oyez.tracing import MAX_STATE, MAX_TRACE, read_trace

ID, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{ID}-{SPAN}-01"

VALID = {
    "sampled": (PARENT, PARENT),
    "not sampled": (f"00-{ID}-{SPAN}-00", f"00-{ID}-{SPAN}-00"),
    "unknown flags": (f"00-{ID}-{SPAN}-ff", PARENT),
    "a later version": (f"cc-{ID}-{SPAN}-01", PARENT),
    "a later version with more": (f"cc-{ID}-{SPAN}-01-what-comes", PARENT),
}
HOSTILE = [
    "",
    "00",
    f"ff-{ID}-{SPAN}-01",
    f"00-{'0' * 32}-{SPAN}-01",
    f"00-{ID}-{'0' * 16}-01",
    f"00-{ID.upper()}-{SPAN}-01",
    f"00-{ID[:-1]}-{SPAN}-01",
    f"00-{ID}-{SPAN}-1",
    f"00-{ID}-{SPAN}-01-",
    f"00-{ID}-{SPAN}-01-more",
    f"cc-{ID}-{SPAN}-01.more",
    f"cc-{ID}-{SPAN}-01-{'x' * 1000}",
    f" {PARENT}",
    f"{PARENT}\n",
    f"{PARENT}\r\nx-injected: 1",
    f"00-{ID}-{SPAN}-0\u0661",
    f"00_{ID}_{SPAN}_01",
    "\x1b[31m" + PARENT,
    f"{PARENT},{PARENT}",
    "' OR 1=1 --",
    "0" * 100_000,
]


@pytest.mark.parametrize(("given", "read"), VALID.values(), ids=VALID)
def test_a_valid_context_is_read(given: str, read: str) -> None:
    assert read_trace([given]) == read


@pytest.mark.parametrize("given", HOSTILE, ids=range(len(HOSTILE)))
def test_an_invalid_context_is_as_none(given: str) -> None:
    assert read_trace([given]) == read_trace([given], ["vendor=1"]) == ""


def test_a_context_that_is_there_twice_or_not_at_all_is_as_none() -> None:
    assert read_trace([]) == read_trace([PARENT, PARENT]) == ""


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["vendor=1"], " vendor=1"),
        (["a=1 ,\tb@c=x y", "d=2"], " a=1,b@c=x y,d=2"),
        ([""], ""),
        (["A=1"], ""),
        (["a=1,a=2"], ""),
        (["a=\x00"], ""),
        (["a=1\r\nx: 1"], ""),
        (["a"], ""),
        (["a=" + "1" * MAX_STATE], ""),
        ([",".join(f"a{n}=1" for n in range(33))], ""),
    ],
)
def test_a_state_is_carried_or_dropped_as_a_whole(given: list[str], read: str) -> None:
    trace = read_trace([PARENT], given)
    assert trace == PARENT + read
    assert len(trace) <= MAX_TRACE


@pytest.mark.parametrize(
    ("data", "rest", "trace"),
    [
        (b'["buy",{"item":1}]', b'["buy",{"item":1}]', ""),
        (b'["buy",{"item":1},{"traceparent":"%b"}]' % PARENT.encode(), b'["buy",{"item":1}]', PARENT),
        (b'["buy",{"traceparent":"\\u0000"}]', b'["buy"]', ""),
        (
            b'["buy",{"idempotencyKey":"k","traceparent":"%b","tracestate":"a=1"}]' % PARENT.encode(),
            b'["buy",{"idempotencyKey":"k"}]',
            f"{PARENT} a=1",
        ),
        # Fields of the command itself.
        (b'["buy",{"traceparent":"x","item":1}]', b'["buy",{"traceparent":"x","item":1}]', ""),
        (b'["buy",{"traceparent":1}]', b'["buy",{"traceparent":1}]', ""),
        (b'["buy","\\"traceparent\\"', b'["buy","\\"traceparent\\"', ""),
    ],
)
def test_the_context_of_a_command_is_split_off(data: bytes, rest: bytes, trace: str) -> None:
    assert split_trace(data) == (rest, trace)


def test_without_opentelemetry_everything_works_but_tracing(tmp_path: Path) -> None:
    program = f"""
import sys
sys.modules["opentelemetry"] = None
from oyez.cli.serve import build_oyez
from oyez.errors import SettingsError
from oyez.settings import Settings
build_oyez(["quotes"], Settings(oyez_data={str(tmp_path)!r})).database.close()
print("oyez.ops.traces" in sys.modules)
try:
    build_oyez(["quotes"], Settings(oyez_data={str(tmp_path)!r}, tracing=True))
except SettingsError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded, error = done.stdout.splitlines()
    assert loaded == "False"
    assert error.startswith("The setting `tracing` is on, but opentelemetry is not installed. Run `pip install")
