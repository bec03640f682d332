"""The length of declarations: what is written for one event or command."""

from tools.declarations import CEILING, add, count_systems


def test_declarations_of_the_shipped_systems_do_not_become_longer() -> None:
    counts = count_systems()
    assert counts["quotes"].declarations == 6
    assert all(count.example_lines < count.lines for count in counts.values())
    total = add(counts.values())
    assert total.average <= CEILING, f"{total.average:.1f} lines for each event or command"
