"""The states of a socket: what its table allows, and that a real client goes through them."""

import pytest

from oyez.server.namespaces.socket import TRANSITIONS, Input, State
from tests.support.serving import serve
from tests.support.wire import SocketWire


@pytest.mark.parametrize("state", State)
def test_each_state_can_end_and_an_ended_socket_stays_ended(state: State) -> None:
    assert TRANSITIONS[state][Input.ENDED] is State.ENDED
    assert set(TRANSITIONS[State.ENDED]) == {Input.ENDED}


def test_a_socket_is_ready_only_after_it_was_accepted_and_has_joined_its_rooms() -> None:
    ways = {(state, change): after for state, changes in TRANSITIONS.items() for change, after in changes.items()}
    assert [way for way, after in ways.items() if after is State.READY] == [(State.JOINING, Input.JOINED)]
    assert [way for way, after in ways.items() if after is State.JOINING] == [(State.CONNECTING, Input.ACCEPTED)]


async def test_a_client_goes_through_all_states() -> None:
    async with serve() as running:
        async with SocketWire.connect(running, {"rooms": ["room"]}) as client:
            (socket,) = running.market.sockets
            assert (socket.state, socket.rooms) == (State.READY, {"room"})
        await running.market.expect_gone(client.id)
        assert (socket.state, socket.rooms) == (State.ENDED, set())
