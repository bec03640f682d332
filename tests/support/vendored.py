"""Which version of which npm package the files in `src/oyez/web/vendor` are."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Package:
    """An npm package of which some files are in `vendor/{name}`."""

    name: str
    version: str
    licence: str
    """The SPDX name. The text is the file LICENSE in the same folder."""
    files: dict[str, str]
    """The SHA-256 of each file, by its name."""


PACKAGES = (
    Package(
        "preact",
        "11.2.0",
        "MIT",
        {
            "preact.mjs": "bdcbd9abdf2c77c5c45326eab42191e949222d479d0d5f69467387a77040cb55",
            "hooks.mjs": "e862ab2973aa6455eaa0f77c5d832d2157d6be59a17c8ba546550a575b58c6b4",
            "LICENSE": "1fe6958409c8c257a70c587a18b6f7f412b179b456630790d30b2ec9a8e4b7d4",
        },
    ),
    Package(
        "htm",
        "3.1.1",
        "Apache-2.0",
        {
            "htm.mjs": "ab33dd3f38059b9be4d5f5350128eefb2356639c4e0bbe9d9e8b3ba75847e9e4",
            "LICENSE": "740725f7252e750af735d0028cc534970772f513331e9f68150fede8fb3ce00f",
        },
    ),
    Package(
        "uplot",
        "1.6.32",
        "MIT",
        {
            "uPlot.esm.js": "5dd9b3281aa64b461b42d9945f6adb2649d346502b12281a9ae0d46599a80eba",
            "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
            "LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
        },
    ),
)
