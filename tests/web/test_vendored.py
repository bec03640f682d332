"""Files of other projects are those of npm, and a page can import each by its name."""

import hashlib

from oyez.web.vendored import CHARTS, FOLDER, IMPORTS
from tests.support.vendored import PACKAGES


def test_each_file_has_the_hash_in_the_table() -> None:
    listed = {f"{package.name}/{name}": digest for package in PACKAGES for name, digest in package.files.items()}
    found = {
        path.relative_to(FOLDER).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in FOLDER.rglob("*")
        if path.is_file()
    }
    assert found == listed


def test_each_package_states_its_licence() -> None:
    words = {"MIT": "The MIT License (MIT)", "Apache-2.0": "Apache License"}
    for package in PACKAGES:
        assert words[package.licence] in (FOLDER / package.name / "LICENSE").read_text()


def test_names_of_modules_lead_to_files() -> None:
    for path in (*IMPORTS.values(), *CHARTS.values()):
        assert (FOLDER.parent / path).is_file()
