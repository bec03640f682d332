"""Acknowledgements and errors: the forms of the answers that clients receive."""

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from msgspec import Struct, inspect

from oyez.contract.check.names import check_name, check_switches, find_duplicates
from oyez.contract.check.types import check_arguments, check_order
from oyez.contract.codec import check_types
from oyez.contract.declare import Declarations
from oyez.contract.declared import DeclaredCommand
from oyez.contract.patterns import find_pattern
from oyez.contract.replies import DETAIL, MAYBE_ABSENT, OTHERS, OYEZ_CODES, SOURCES, Acknowledgements, Errors
from oyez.contract.schema import options
from oyez.contract.types import Payload
from oyez.errors import ContractError


def check_answers(declared: Declarations) -> Iterator[str]:
    """The contract's acknowledgements and errors, and those of its commands."""
    known = OYEZ_CODES | {refusal.code for refusal in declared.refusals}
    yield from (f"acknowledgements: {error}" for error in check_acknowledgements(declared.acknowledgements))
    yield from (f"errors: {error}" for error in _check_errors(declared.errors, known))
    for namespace in declared.namespaces:
        for command in namespace.commands:
            where = f"command {command.name}"
            for refusal in command.refusals or ():
                if refusal not in declared.refusals:
                    shown = getattr(refusal, "code", refusal)
                    yield f"{where}: refusals has {shown!r}: list what contract.refusal(…) has returned"
            if command.error is not None:
                yield from (f"{where}: error: {error}" for error in _check_command_errors(command.error, known))
            if command.acknowledgements is not None:
                found = check_acknowledgements(command.acknowledgements)
                yield from (f"{where}: acknowledgements: {error}" for error in found)
            yield from (f"{where}: {error}" for error in check_reply(command, declared.acknowledgements))
            if _mixes(command, declared):
                yield f"{where}: an error that is one value needs a member: give error a name in Acknowledgements"
        reporting = declared.error_events(namespace)
        for kind, listed in (("event", namespace.events), ("command", namespace.commands)):
            for name in dict.fromkeys(item.name for item in listed):
                if name in reporting or _may_be(name, reporting):
                    yield f"{kind} {name}: the name is the server's own: the event that reports errors has it already"


def _may_be(name: object, reporting: Iterable[str]) -> bool:
    """True if a name with placeholders could be that of an event that reports errors."""
    try:
        pattern = find_pattern(name) if isinstance(name, str) else None
    except ContractError:
        return False
    return pattern is not None and any(pattern.match(event) for event in reporting)


def _mixes(command: DeclaredCommand, declared: Declarations) -> bool:
    """True if the members of errors should be beside the flag, but errors have no members."""
    form, errors = command.acknowledgements or declared.acknowledgements, declared.errors
    if not isinstance(form, Acknowledgements) or not isinstance(errors, Errors):
        return False
    if isinstance(command.error, Errors):
        errors = command.error.over(errors)
    beside = form.error is None and form.failure is None and not form.node_style and form.error_as == "object"
    return beside and isinstance(errors.shape, str)


def check_acknowledgements(form: Acknowledgements) -> Iterator[str]:
    if not isinstance(form, Acknowledgements):
        yield f"expected Acknowledgements(…), not {form!r:.40}"
        return
    yield from check_switches(form, "node_style", "empty")
    if isinstance(form.error_as, Mapping | list):
        yield from (f"error_as: {error}" for error in _find_shape_errors(form.error_as))
    elif form.error_as not in ("object", "message", "code"):
        yield f"error_as is {form.error_as!r}; it can be object, message or code, or a form as {{'reason': 'code'}}"
    several = isinstance(form.failure, tuple)
    if several:
        yield from _find_failure_errors(form.failure)
    elif form.failure is not None and form.failure not in ("message", "code") and not _is_constant(form.failure):
        yield f"failure is {form.failure!r:.40}; it can be 'message', 'code', or a constant such as Literal[False]"
    if form.node_style:
        changed = [
            name
            for name in ("flag", "data", "error", "failure")
            if getattr(form, name) != getattr(_DEFAULT, name) and not (name == "failure" and several)
        ]
        yield from (f"with node_style there are no members: leave out {name}" for name in changed)
        return
    names = [name for name in (form.flag, form.data, form.error) if name is not None]
    yield from (f"{name!r} is not the name of a member" for name in names if not isinstance(name, str) or not name)
    yield from find_duplicates("member", map(str, names))
    if not isinstance(form.values, tuple) or len(form.values) != 2 or form.values[0] == form.values[1]:
        yield f"values are {form.values!r}: give two different values of the flag, of success and of failure"
    if form.error is None and form.failure is None:
        if form.flag is None:
            yield "without flag and error, no client can see whether a command has succeeded"
        if form.error_as in ("message", "code"):
            yield f"an error that is only its {form.error_as} needs a member: give error a name"


def _find_failure_errors(parts: tuple[Any, ...]) -> Iterator[str]:
    """The contradictions in a failure of several arguments."""
    if not parts or not (parts[0] in ("message", "code") or _is_constant(parts[0])):
        yield f"failure is {parts!r:.60}: clients know it by its first argument, 'message', 'code' or a constant"
    for index, part in enumerate(parts[1:], 1):
        yield from (f"failure[{index}]: {error}" for error in _find_shape_errors(part))


_DEFAULT = Acknowledgements()


def check_reply(command: DeclaredCommand, general: Acknowledgements) -> Iterator[str]:
    form = command.acknowledgements or general
    yield from (f"reply_{error}" for error in check_arguments(command.reply_arguments))
    if command.reply is None and command.reply_arguments == "positional":
        yield "reply_arguments are positional, and it has no reply; give reply=… a payload's class"
    if command.reply is None or not isinstance(form, Acknowledgements):
        return
    if isinstance(command.reply, str | bytes | int | float | list | tuple | dict | Struct):
        yield f"its reply is {command.reply!r:.40}, not a type; give a payload's class, such as reply=Placed, or int"
        return
    try:
        check_types(command.reply)
    except ContractError as error:
        yield f"its reply: {error}"
        return
    if command.reply_arguments == "positional":
        yield from _check_positional(command.reply, form)
        return
    kinds = list(options(inspect.type_info(command.reply)))
    objects = [kind for kind in kinds if isinstance(kind, inspect.StructType)]
    if len(objects) < len(kinds) and form.names_fields:
        yield (
            "its reply has no fields, which would be beside the flag; declare a payload, or give the contract "
            'acknowledgements=Acknowledgements(data="data")'
        )
    names = {field.encode_name for kind in objects for field in kind.fields} | {kind.tag_field for kind in objects}
    if form.reserved is not None and form.reserved in names:
        yield f"its reply has a field `{form.reserved}`, which every acknowledgement has already"


def _check_positional(reply: Any, form: Acknowledgements) -> Iterator[str]:
    """A reply whose fields are the arguments of the acknowledgement."""
    if not _is_payload(reply):
        yield f"its reply is {reply!r:.40}, and reply_arguments are the fields of a payload; give reply=… its class"
        return
    yield from (f"its reply: {error}" for error in check_order(reply))
    if not form.takes_several:
        yield (
            "its reply is several arguments, which have no place beside a flag or in data; give it "
            "acknowledgements=Acknowledgements(node_style=True), or flag=None"
        )


def _check_command_errors(form: Any, known: Container[str]) -> Iterator[str]:
    yield from _check_errors(form, known)
    if isinstance(form, Errors) and (form.connect or form.connect_shape is not None or form.connect_fields is not None):
        yield "connect is about connections: give it to the contract"


def _check_errors(form: Any, known: Container[str]) -> Iterator[str]:
    if not isinstance(form, Errors):
        yield f"expected Errors(…), not {form!r:.40}"
        return
    if isinstance(form.name, str):
        yield from (f"event {form.name}: {error}" for error in check_name(form.name))
        if "{" in form.name:
            yield f"event {form.name}: it has no fields that could fill a placeholder; write one name"
    else:
        yield f"event is {form.name!r:.40}: a name is text"
    if form.shape is not None:
        yield from _find_shape_errors(form.shape)
    if form.connect_shape is not None:
        yield from (f"connect_{error}" for error in _find_shape_errors(form.connect_shape))
    if form.connect_fields is not None and not _is_payload(form.connect_fields):
        yield f"connect_fields is {form.connect_fields!r:.40}: give a class that is derived from Payload"
    for name in ("codes", "statuses", "messages", "connect"):
        mapping: Any = getattr(form, name)
        if not isinstance(mapping, Mapping):
            yield f"{name} is {mapping!r:.40}: write a dict, from a code to what clients receive"
            return
        for code, text in mapping.items():
            if code not in known and code != OTHERS:
                yield f"{name}: {code!r} is not a code of Oyez or a refusal of this contract"
            kinds = {"codes": (str, int), "statuses": (int,)}.get(name, (str,))
            if type(text) not in kinds or text == "":
                expected = " or ".join("text" if kind is str else "a number" for kind in kinds)
                yield f"{name}: {code!r} becomes {text!r}: expected {expected}"
    for code, text in form.codes.items():
        if isinstance(text, str) and text in known and text != code and form.code(text) == text:
            yield f"codes: {code!r} becomes {text!r}, which is the code of another refusal"


def _is_payload(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Payload)


def _find_shape_errors(shape: Any) -> Iterator[str]:
    """The contradictions in a shape, one sentence each."""
    if isinstance(shape, str) and (shape in MAYBE_ABSENT or shape.startswith(DETAIL)):
        yield f"shape {shape!r}: some errors have no such value; a shape that is one value can be code, message, …"
    elif shape in ({}, []):
        yield "shape is empty: list its members, as {'code': 'code', 'message': 'message'}"
    else:
        yield from _find_member_errors("shape", shape)


def _is_constant(shape: Any) -> bool:
    return get_origin(shape) is Literal and len(get_args(shape)) == 1


def _find_member_errors(path: str, shape: Any) -> Iterator[str]:
    if isinstance(shape, Mapping):
        for name, member in shape.items():
            if not isinstance(name, str):
                yield f"{path} has the member {name!r}: a name is text"
            yield from _find_member_errors(f"{path}.{name}", member)
    elif isinstance(shape, list):
        for index, member in enumerate(shape):
            yield from _find_member_errors(f"{path}[{index}]", member)
    elif isinstance(shape, str):
        if shape not in SOURCES and not (shape.startswith(DETAIL) and len(shape) > len(DETAIL)):
            known = ", ".join(SOURCES)
            yield f"{path}: there is no value {shape!r}; there are {known}; a constant is Literal[{shape!r}]"
    elif not _is_constant(shape):
        yield f"{path} is {shape!r:.40}: write a value's name such as 'code', an object, or a constant Literal[…]"
