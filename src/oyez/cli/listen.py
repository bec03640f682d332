"""`oyez listen`: a client on the terminal, which prints each event and reconnects if it is disconnected."""

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal

from oyez.cli.address import FOUND, Target
from oyez.cli.console import CallError
from oyez.cli.flags import NOBODY, OWN_SETTINGS, Repeatable, SettingsFlags, SystemName, UserFlags, parse_json
from oyez.cli.listener import Listener, read_claims
from oyez.cli.prompt import LineError, Prompt, parse_values
from oyez.cli.session import Emissions, run_session
from oyez.contract import Contract, Identity, anyone
from oyez.contract.declare import Namespace
from oyez.service.auth.claims import read_claim_names
from oyez.systems.loader import load_system

DEFAULT_TIMEOUT = 10.0
"""Seconds that `--expect` waits: enough for an event that a job sends, on a slow machine."""


def listen(
    system: SystemName,
    /,
    *,
    user: UserFlags = NOBODY,
    namespace: str | None = None,
    auth: str = "{}",
    transport: Annotated[tuple[Literal["polling", "websocket"], ...], Repeatable] = (),
    emit: Annotated[tuple[tuple[str, str], ...], Repeatable] = (),
    expect: Annotated[tuple[str, ...], Repeatable] = (),
    timeout: float | None = None,
    target: Target = FOUND,
    flags: SettingsFlags = OWN_SETTINGS,
) -> int:
    """Connect as a user and print each event with its time, name and data.

    It reconnects if it is disconnected, and ends with Ctrl-C. On a terminal there is a prompt; type `help` for its
    commands. Lines from a pipe are executed in the same way. Without flags, the user is TEST_USER (with --role vendor,
    or if it is unset, TEST_VENDOR) and the server's address is WS_URL. Without any user, it listens as a guest if the
    system has guests.

    For example:
      oyez listen quotes --sub 5f0c --role supplier
      oyez listen quotes --sub 77aa --auth '{"gateways": ["quote-offers"]}'
      oyez listen quotes --token "$TOKEN" --url https://events.example.com
      oyez listen fixrx --sub 5f0c --role user --expect chat:message --timeout 5
      oyez listen fixrx --sub 5f0c --role user --emit join '{"type": "user", "id": "5f0c"}'

    Parameters
    ----------
    namespace
        The namespace to connect to. [default: the contract's first that admits the role]
    auth
        Additional fields of the handshake's auth, as a JSON object.
    transport
        With both, polling first, it connects over polling and then upgrades. [default: websocket]
    emit
        A command to send when connected, and its JSON; repeatable. If it is refused, the command ends with status 1.
    expect
        End with status 0 when this event has been received; repeatable, for several events in any order.
    timeout
        Seconds to wait for the expected events, including the time to connect; then status 1. [default: 10]
    """
    loaded, settings = load_system(system), flags.load()
    user, target = fill_in(user, target, loaded.contract, os.environ)
    guest = user.sub is None and target.token is None
    if guest and loaded.contract.guests is None:
        raise CallError("Listening needs a user. Add --sub ID to make a token, or --token TOKEN to use yours.")
    if timeout is not None and not expect:
        raise CallError("--timeout needs --expect. Add --expect EVENT, or leave --timeout out.")

    def sign() -> str:
        return "" if guest else target.token or user.sign(loaded, settings)

    names = read_claim_names(settings).of_contract(loaded.contract.claims)
    role = names.read(read_claims(target.token)).get("role") if target.token else user.role
    role = loaded.contract.guests if guest else role
    listener = Listener(
        url=target.find(settings),
        path=f"/{loaded.name}/socket.io/",
        namespace=namespace or find_namespace(loaded.contract, role),
        auth=parse_json(auth, "--auth"),
        token=sign,
        transports=transport or ("websocket",),
        names=names,
    )
    found = loaded.contract.find_namespace(listener.namespace)
    entered = found[0] if found is not None else Namespace(listener.namespace, anyone())
    check_expected(expect, entered, loaded.contract)
    prompt = Prompt(loaded.contract, entered, user.sub, lambda: listener.client)
    emissions = parse_emissions(emit)
    timeout = DEFAULT_TIMEOUT if timeout is None else timeout
    try:
        return asyncio.run(run_session(listener, prompt, emissions, expect, timeout))
    except KeyboardInterrupt:
        return 0


def fill_in(
    user: UserFlags, target: Target, contract: Contract, environ: Mapping[str, str]
) -> tuple[UserFlags, Target]:
    """User and target from the flags; from the environment, if no flag gives them."""
    if target.url is None and (url := environ.get("WS_URL")):
        # Socket.IO begins as HTTP, however its address is written.
        target = replace(target, url=re.sub(r"^ws(?=s?://)", "http", url))
    if user.sub is None and target.token is None:
        user_id, vendor_id = environ.get("TEST_USER"), environ.get("TEST_VENDOR")
        alone = user.role is None and not user_id
        kind = "vendor" if "vendor" in contract.roles and (user.role == "vendor" or alone) else "user"
        sub = vendor_id if kind == "vendor" else user_id
        needed = user.role is None and contract.default_role is None and kind in contract.roles
        user = replace(user, sub=sub or None, role=kind if needed else user.role)
    return user, target


def find_namespace(contract: Contract, role: str | None) -> str:
    """The first namespace that admits the role. Raises CallError if all names have placeholders."""
    identity = Identity(subject="", role=role or contract.default_role or "")
    literal = [namespace for namespace in contract.namespaces if not namespace.placeholders]
    if not literal:
        raise CallError(f"Which namespace? Add --namespace, of the form {contract.namespaces[0].name}.")
    admitting = [namespace.name for namespace in literal if namespace.who.admits(identity)]
    return next(iter(admitting), literal[0].name)


def parse_emissions(emit: Sequence[tuple[str, str]]) -> Emissions:
    """The events of `--emit` with their arguments. Raises CallError."""
    try:
        return [(name, parse_values(text)) for name, text in emit]
    except LineError as error:
        raise CallError(f"--emit: {error}") from None


def check_expected(expect: Sequence[str], namespace: Namespace, contract: Contract) -> None:
    """Raises CallError for an event that the namespace never sends."""
    known = [*(event.name for event in namespace.events), *contract.error_events(namespace)]
    for name in expect:
        if name not in known:
            raise CallError(f"{namespace.name} has no event {name!r}. Its events are {', '.join(known)}.")
