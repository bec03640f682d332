"""The flags of `oyez serve`: one for each setting, made from `Settings`, so that nothing is written twice."""

import re
from dataclasses import asdict, dataclass, field, make_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from cyclopts import Group, Parameter

from oyez.documents.field_docs import find_field_docs
from oyez.settings import GROUPS, Settings, load_settings


def describe_flag(default: object, doc: str) -> str:
    """The first sentence of a setting's docstring, and its default."""
    text = doc.replace("`", "")
    sentence = re.split(r"(?<=\.) (?=[A-Z])", text, maxsplit=1)[0]
    unset = re.search(r"Unset: (.+?)\.(?: |$)", text)
    if isinstance(default, bool):
        shown = "yes" if default else "no"
    elif isinstance(default, float):
        shown = f"{default:g}"
    else:
        shown = str(default) if default not in (None, "") else unset[1] if unset else ""
    return f"{sentence} [default: {shown}]" if shown else sentence


def add_settings(base: "type[ServerFlags]") -> "type[ServerFlags]":
    """`base` with a field for each setting but the limits; None if the flag is not given."""
    types, docs, defaults = get_type_hints(Settings), find_field_docs(Settings), Settings()
    fields: list[tuple[str, Any, Any]] = []
    for name in Settings.__struct_fields__:
        if name not in GROUPS:
            text = describe_flag(getattr(defaults, name), docs[name])
            fields.append((name, types[name] | None, field(default=None, metadata={"help": text})))
    namespace = {"__module__": base.__module__, "__doc__": base.__doc__}
    made = make_dataclass(base.__name__, fields, bases=(base,), namespace=namespace, frozen=True)
    return Parameter(name="*", group=Group("Settings"))(made)


@add_settings
@dataclass(frozen=True)
class ServerFlags:
    """Every setting but the limits."""

    config: Path | None = field(default=None, metadata={"help": "The settings file. [default: ./oyez.toml]"})

    def load(self) -> Settings:
        """The settings as these flags, the environment and the file give them. Raises SettingsError."""
        flags = asdict(self)
        return load_settings(file=flags.pop("config"), **flags)


DEFAULTS = ServerFlags()
