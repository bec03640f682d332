"""The corpus of `chaos.fuzz`, and a few mutations of each input: the same as the long run, for a moment."""

import random

import pytest

from chaos.fuzz import Run, fuzz, prepare_run, read_corpus
from chaos.fuzz_targets import TARGETS
from chaos.mutate import MAX_INPUT, mutate

INPUTS = 300


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_keeps_its_promises(name: str) -> None:
    run = prepare_run(name, TARGETS[name])
    fuzz([run], INPUTS, random.Random(1))
    assert run.findings == {}
    # That inputs get beyond the first check.
    assert len(run.answers) > 3


def test_a_finding_is_the_input_that_caused_it() -> None:
    def fail(data: bytes) -> str:
        if b"!" in data:
            raise ValueError("an exclamation mark")
        return "fine"

    run = Run("marks", fail, [b"a"])
    for data in (b"b", b"c!", b"d!"):
        run.try_one(data)
    assert run.findings == {"ValueError: an exclamation mark": b"c!"}
    assert (run.inputs, run.answers) == (3, {"fine", "ValueError: an exclamation mark"})


def test_mutations_are_bounded_and_repeatable() -> None:
    pool = read_corpus("packet")
    first, second = ([mutate(pool[0] * 500, pool, random.Random(seed)) for seed in range(200)] for _ in range(2))
    assert first == second and max(map(len, first)) <= MAX_INPUT
    assert len(set(first)) > 150
