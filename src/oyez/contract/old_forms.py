"""Old forms of events and commands: how one form is made from the one beside it, and checked."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from oyez.contract.arguments import shapes_of
from oyez.contract.codec import check_made
from oyez.contract.command_codec import CommandCodec, make_command_codec
from oyez.contract.declared import DeclaredCommand
from oyez.contract.event_codec import EventCodec
from oyez.contract.patterns import find_pattern
from oyez.contract.types import Command, Payload, read_scalar
from oyez.contract.versions import Was
from oyez.errors import ContractError, InvalidDataError

E = TypeVar("E")


def event_in_form(event: E, number: int) -> E:
    """An event, as its declaration or in a built contract, in the form `number`: 0 is its newest form."""
    declared: Any = event
    for was in declared.was[:number]:
        name = was.name or declared.name
        declared = replace(
            declared,
            name=name,
            payload=was.payload,
            arguments=was.arguments or declared.arguments,
            # A name that has become another one may have other placeholders.
            name_only=declared.name_only and find_pattern(name) is not None,
        )
    return declared  # type: ignore[no-any-return]


def command_in_form(command: DeclaredCommand, number: int) -> DeclaredCommand:
    """A command in the form `number`: 0 is its newest form."""
    for was in command.was[:number]:
        command = replace(
            command,
            name=was.name or command.name,
            command=was.payload,
            arguments=was.arguments or command.arguments,
            reply=was.reply if was.reply is not None else command.reply,
        )
    return command


class EventForms:
    """The forms of one event: their codecs, and the functions between them."""

    def __init__(self, event: Any) -> None:
        """`event` is a declared one, or one of a built contract."""
        self._name = event.name
        self._was: Sequence[Was] = event.was
        forms = [event_in_form(event, number) for number in range(len(event.was) + 1)]
        self.codecs = [make_event_codec(form) for form in forms]
        """By the number of the form."""

    def convert(self, payload: Payload, number: int) -> Payload | None:
        """The form `number` of a payload of the form before it; None if that form has nothing for it.

        Raises ContractError if the function has failed, or has made something else.
        """
        was = self._was[number - 1]
        where = f"convert to the form of version {was.version}"
        try:
            made = was.convert(payload)
        except Exception as error:
            raise ContractError(f"{where} failed: {type(error).__name__}: {error}") from error
        if made is None:
            return None
        shapes = shapes_of(was.payload)
        if not isinstance(made, shapes):
            expected = " or ".join(shape.__name__ for shape in shapes)
            raise ContractError(f"{where} returned {type(made).__name__}: expected {expected} or None")
        try:
            self.codecs[number].encode_payload(made)
        except InvalidDataError as error:
            raise ContractError(f"{where} returned data that do not fit: {error}") from error
        return made  # type: ignore[no-any-return]


def make_event_codec(event: Any) -> EventCodec[Payload]:
    """The codec of a declared event, or of one of a built contract."""
    return EventCodec(
        event.name,
        event.payload,
        event.arguments,
        event.unknown_fields,
        pattern=event.pattern,
        name_only=event.name_only,
    )


class OldCommandCodec:
    """Decodes a command in an old form into its newest form."""

    def __init__(self, command: DeclaredCommand, number: int) -> None:
        self._command = command
        self._was = command.was[:number]
        self._codec: CommandCodec = make_command_codec(command_in_form(command, number))

    def decode(self, data: bytes, attachments: tuple[bytes, ...] = ()) -> tuple[Command, str]:
        """The command in an event array, and its idempotency key; empty if it has none.

        Raises InvalidDataError if the old form, or what is made of it, does not fit; ContractError if a function has
        failed.
        """
        command, id = self._codec.decode(data, attachments)
        return self.convert(command), id

    def convert(self, command: Command) -> Command:
        """The newest form of a command in this form. Raises as `decode` does."""
        newer = [*(was.payload for was in self._was[-2::-1]), self._command.command]
        for was, kind in zip(reversed(self._was), newer, strict=True):
            where = f"convert from the form of version {was.version}"
            try:
                made = was.convert(command)
            except InvalidDataError:
                raise
            except Exception as error:
                raise ContractError(f"{where} failed: {type(error).__name__}: {error}") from error
            if not isinstance(made, shapes_of(kind)):
                expected = " or ".join(shape.__name__ for shape in shapes_of(kind))
                raise ContractError(f"{where} returned {type(made).__name__}: expected {expected}")
            command = made
        return check_made(command, self._command.command, self._command.name)


def convert_reply(command: DeclaredCommand, number: int, reply: Any) -> Any:
    """What a handler has returned, in the form `number`. Raises ContractError, or as msgspec.convert does."""
    if command.reply is not None and not isinstance(reply, Payload):
        # A handler may return the fields of its payload.
        reply = msgspec.convert(reply, command.reply, dec_hook=read_scalar, builtin_types=(bytes,))
    for was in command.was[:number]:
        if was.convert_reply is not None:
            try:
                reply = was.convert_reply(reply)
            except Exception as error:
                text = f"convert_reply to the form of version {was.version} failed: {type(error).__name__}: {error}"
                raise ContractError(text) from error
    return reply
