"""Versions and old forms. Each function between two forms is tried with an example."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import msgspec

from oyez.contract.check.names import check_name, find_duplicates
from oyez.contract.check.replies import check_reply
from oyez.contract.check.types import check_named, check_shapes
from oyez.contract.codec import check_types
from oyez.contract.command_codec import make_command_codec
from oyez.contract.declare import Declarations
from oyez.contract.declared import DeclaredCommand, DeclaredEvent
from oyez.contract.event_codec import EventCodec
from oyez.contract.examples import NOW, encode_example, make_example
from oyez.contract.old_forms import EventForms, OldCommandCodec, command_in_form, convert_reply, event_in_form
from oyez.contract.replies import Acknowledgements
from oyez.contract.schema import find_field, is_millis
from oyez.contract.tokens import Auth
from oyez.contract.types import Command, Payload, Time
from oyez.contract.versions import MAX_VERSIONS, Versions, Was, find_form, sort_forms
from oyez.errors import ContractError, InvalidDataError

MAX_LENGTH = 64
"""Characters of a version: more than a date or a number has."""
_fits = re.compile(rf"[\w.+-]{{1,{MAX_LENGTH}}}", re.ASCII).fullmatch
TAKEN = ("pid", "offset", "recovery", "gateways")
"""Members of `auth` with another meaning."""


def check_versions(declared: Declarations) -> Iterator[str]:
    """The contract's list of versions."""
    versions, faults = declared.versions, list(_check_names(declared.versions))
    yield from (f"versions: {fault}" for fault in faults)
    if faults:
        return
    yield from find_duplicates("version", versions.names)
    if versions.default is not None and versions.default not in versions.names:
        yield f"versions: the default {versions.default!r} is not one of {', '.join(versions.names) or 'them'}"
    tokens = [source.name for source in declared.tokens if isinstance(source, Auth)]
    if not isinstance(versions.name, str) or not versions.name or versions.name in (*TAKEN, *tokens):
        yield f"versions: name is {versions.name!r}, which means something else in auth; give another name"


def _check_names(versions: Versions) -> Iterator[str]:
    if not isinstance(versions.names, list | tuple):
        yield f"expected a list, the oldest first, as ('1', '2'); got {versions.names!r:.40}"
        return
    if len(versions.names) > MAX_VERSIONS:
        yield f"{len(versions.names)} are too many; at most {MAX_VERSIONS} are possible"
    for name in versions.names:
        if not isinstance(name, str) or not _fits(name):
            yield (
                f"{name!r:.80}: expected 1 to {MAX_LENGTH} letters, digits, dots, plus and minus signs, such as '2' or"
                " '2026-01'"
            )


def check_event_forms(event: DeclaredEvent, versions: Versions) -> Iterator[str]:
    """The old forms of an event."""
    forms = list(_find_forms(event.was, versions))
    yield from (fault for fault in forms if isinstance(fault, str))
    ordered = [form for form in forms if isinstance(form, Was)]
    if not ordered or len(ordered) < len(event.was):
        return
    event = replace(event, was=sort_forms(ordered, versions))
    faults = []
    for number, was in enumerate(event.was, 1):
        old, where = event_in_form(event, number), f"its form of version {was.version}"
        found = [*check_name(old.name), *check_shapes(old.payload, Payload, old.arguments)]
        found += check_named(old.payload, old.name) if not found else ()
        if was.example is not None or was.reply is not None or was.convert_reply is not None:
            found.append("example and reply are for commands; an event's old example is made by convert")
        if event.latest and old.pattern is not None:
            found.append("latest keeps the newest event of a name, and this name has a placeholder")
        faults += [f"{where}: {fault}" for fault in found]
    yield from faults or _try(lambda: _try_event(event))


def _try_event(event: DeclaredEvent) -> None:
    """Convert the event's example. Raises ContractError if a function fails."""
    example = make_example(event.payload, event.arguments) if event.example is None else event.example
    forms = EventForms(event)
    made: Payload | None = _fill_time(event, forms.codecs[0].decode_payload(encode_example(example)))
    for number in range(1, len(event.was) + 1):
        made = forms.convert(made, number) if made is not None else None


def _fill_time(event: DeclaredEvent, payload: Payload) -> Payload:
    found = find_field(type(payload), event.timestamp) if event.timestamp is not None else None
    if found is None or getattr(payload, found[1].name) is not msgspec.UNSET:
        return payload
    moment = Time(NOW)
    return msgspec.structs.replace(payload, **{found[1].name: moment.millis if is_millis(found[1].type) else moment})


def check_command_forms(
    command: DeclaredCommand, versions: Versions, acknowledgements: Acknowledgements
) -> Iterator[str]:
    """The old forms of a command. `acknowledgements` are the contract's."""
    forms = list(_find_forms(command.was, versions))
    yield from (fault for fault in forms if isinstance(fault, str))
    ordered = [form for form in forms if isinstance(form, Was)]
    if not ordered or len(ordered) < len(command.was):
        return
    command = replace(command, was=sort_forms(ordered, versions))
    faults = []
    for number, was in enumerate(command.was, 1):
        old, where = command_in_form(command, number), f"its form of version {was.version}"
        found = [*check_name(old.name), *check_shapes(old.command, Command, old.arguments)]
        found += check_named(old.command, old.name) if not found else ()
        found += _check_old_reply(command, was)
        faults += [f"{where}: {fault}" for fault in found]
        if not faults:
            faults += [f"{where}: {fault}" for fault in check_reply(old, acknowledgements)]
    if faults:
        yield from faults
        return
    for number in range(1, len(command.was) + 1):
        yield from _try(lambda number=number: _try_command(command, number))  # type: ignore[misc]
    if command.reply is not None:
        yield from _try(lambda: _try_reply(command))


def _check_old_reply(command: DeclaredCommand, was: Was) -> Iterator[str]:
    if (was.reply is None) is not (was.convert_reply is None):
        yield "an old reply needs both reply=… and convert_reply=…"
    elif was.reply is not None and command.reply is None:
        yield "has a reply, and the command has none"
    elif was.convert_reply is not None and not callable(was.convert_reply):
        yield f"convert_reply is {was.convert_reply!r:.40}: expected a function"
    elif was.reply is not None:
        try:
            check_types(was.reply)
        except ContractError as error:
            yield f"reply: {error}"


def _try_command(command: DeclaredCommand, number: int) -> None:
    """Convert an example of an old form. Raises ContractError if a function fails."""
    was, old = command.was[number - 1], command_in_form(command, number)
    data = make_example(old.command, old.arguments) if was.example is None else was.example
    try:
        # Events and commands read the same data, and an event's codec needs no array around it.
        given: Any = EventCodec[Any](old.name, old.command, old.arguments).decode_payload(encode_example(data))
    except InvalidDataError as error:
        raise ContractError(f"its form of version {was.version}: its example does not fit: {error}") from None
    make_command_codec(old)
    try:
        OldCommandCodec(command, number).convert(given)
    except InvalidDataError as error:
        text = f"convert from the form of version {was.version} made of the example what does not fit: {error}"
        raise ContractError(text) from None


def _try_reply(command: DeclaredCommand) -> None:
    if not any(was.convert_reply for was in command.was):
        return
    payload = isinstance(command.reply, type) and issubclass(command.reply, msgspec.Struct)
    if payload:
        convert_reply(command, len(command.was), msgspec.json.decode(encode_example(make_example(command.reply))))


def _try(run: Callable[[], None]) -> Iterator[str]:
    try:
        run()
    except ContractError as error:
        yield str(error)
    except InvalidDataError:
        # The newest form's own example does not fit; another error says so.
        return


def _find_forms(was: tuple[Any, ...], versions: Versions) -> Iterator[Was | str]:
    """The old forms of one declaration, and what is wrong with them."""
    seen: list[str] = []
    for form in was:
        if not isinstance(form, Was):
            yield f"was={form!r:.40}; write was=Was('1', OldPayload, convert=…), with the newest version of that form"
        elif not versions.names:
            yield "has an old form, and the contract has no versions; give the contract versions=('1', '2')"
        elif form.version not in versions.names[:-1]:
            older = ", ".join(map(repr, versions.names[:-1])) or "none"
            yield f"was=Was({form.version!r}, …): expected a version before the newest one: {older}"
        elif form.version in seen:
            yield f"has two forms of version {form.version}; give it one"
        elif not callable(form.convert):
            yield f"its form of version {form.version}: convert is {form.convert!r:.40}: expected a function"
        elif form.convert_back is not None:
            yield f"its form of version {form.version}: convert_back is for relays; remove it"
        else:
            yield form
        seen.append(getattr(form, "version", ""))


def check_form_names(declared: Declarations) -> Iterator[str]:
    """In each version, a name means one event and one command."""
    versions = declared.versions
    names = versions.names[:-1] if isinstance(versions.names, list | tuple) else ()
    for namespace in declared.namespaces:
        for kind, listed in (("event", namespace.events), ("command", namespace.commands)):
            known: Any = [one for one in listed if all(isinstance(form, Was) for form in one.was)]
            known = [one for one in known if all(form.version in names for form in one.was)]
            for version in dict.fromkeys(names):
                used: dict[str, str] = {}
                for one in known:
                    number = find_form(one.was, versions, versions.age(version))
                    old = next(
                        (form.name for form in sort_forms(one.was, versions)[:number][::-1] if form.name), one.name
                    )
                    if used.setdefault(old, one.name) != one.name:
                        yield f"{kind} {one.name}: is {old} in version {version}, and so is {used[old]}; rename one"
