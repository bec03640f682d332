"""Back ends: programs in any language that handle a contract's commands and decide about its clients, over HTTP.

A contract only names them. Their addresses and secrets are settings (`[backends.NAME]` in `oyez.toml`).
"""

from dataclasses import dataclass

from oyez.contract.policy import Looked


@dataclass(frozen=True, slots=True)
class Backend:
    """A program that answers requests of this contract: `orders = Backend("orders")`.

    The setting `backends.orders` has its address and its secret.
    """

    name: str
    repeatable: bool = True
    """True if the program gives the first answer again to a request whose id it has answered before. Then a request is
    also repeated if it may have arrived. False: only if it has certainly not been handled."""


@dataclass(frozen=True)
class DecidedBy(Looked):
    """Requires that a back end allows the client in the room."""

    backend: Backend

    @property
    def text(self) -> str:
        return f"is allowed by the back end `{self.backend.name}`"


def decided_by(backend: Backend) -> DecidedBy:
    """The back end decides about each client that wants to enter the room. Without an answer, nobody enters."""
    return DecidedBy(backend)
