"""What metadata says about licences, in the words it is found in, and what may be taken."""

from __future__ import annotations

import pytest

from engine.train.corpus_licences import DebianCopyright, of_npm, of_wheel, permissive


@pytest.mark.parametrize(
    "expression",
    [
        "MIT",
        "MIT License",
        "Apache-2.0",
        "Apache License 2.0",
        "Apache License, Version 2.0",
        "Apache Software License",
        "BSD",
        "BSD-3-Clause",
        "3-Clause BSD License",
        "New BSD License",
        "ISC",
        "PSF-2.0",
        "Python Software Foundation License",
        "(MIT OR Apache-2.0)",
        "GPL-2.0-or-later OR MIT",
        "BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0",
        "Expat or CC0-1.0",
        "Unlicense",
        "Apache-2.0 WITH LLVM-exception",
    ],
)
def test_permissive(expression: str) -> None:
    assert permissive(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "GPL-3.0-only",
        "LGPL-2.1",
        "AGPL-3.0",
        "MPL-2.0",
        "MIT AND GPL-2.0",
        "GPL-3+ with autoconf exception",
        "Proprietary",
        "UNKNOWN",
        "EPL-2.0",
    ],
)
def test_not_permissive(expression: str) -> None:
    assert not permissive(expression)


def test_a_wheel_speaks_by_expression_then_classifier_then_field_then_file() -> None:
    osi = "Classifier: License :: OSI Approved :: "
    assert of_wheel("License-Expression: MIT\nLicense: GPL\n").permissive
    assert of_wheel(f"{osi}BSD License\n").evidence == "BSD License"
    assert not of_wheel(f"{osi}MIT License\n{osi}GNU General Public License v3 (GPLv3)\n").permissive
    assert of_wheel("License: Apache 2.0\n").permissive
    assert not of_wheel("Name: silent\n").permissive
    assert of_wheel("Name: silent\n", "Permission is hereby granted, free of charge, to any person").permissive
    assert not of_wheel("Name: silent\n", "GNU GENERAL PUBLIC LICENSE").permissive


def test_npm_packages_in_both_forms() -> None:
    assert of_npm('{"license": "ISC"}').permissive
    assert of_npm('{"license": {"type": "MIT"}}').permissive
    assert not of_npm('{"license": "SEE LICENSE IN LICENSE"}').permissive
    assert not of_npm("{}").permissive


COPYRIGHT = """Format: machine-readable

Files: *
Copyright: somebody
License: BSD-3-clause

Files: contrib/*
 tools/gen?.c
License: GPL-2+ with exception
 long text

Files: contrib/free.c
License: House

License: BSD-3-clause
 text
"""


def test_the_last_stanza_that_names_a_file_decides() -> None:
    listed = DebianCopyright(COPYRIGHT, also=("House",))
    assert listed.readable
    assert listed.allows("src/deep/a.c")
    assert not listed.allows("contrib/deep/a.c")
    assert not listed.allows("tools/gen1.c")
    assert listed.allows("contrib/free.c")
    assert not DebianCopyright(COPYRIGHT).allows("contrib/free.c"), "a licence nobody vouched for is not permissive"


def test_installed_files_are_refused_by_any_bound_name_in_their_path() -> None:
    listed = DebianCopyright(COPYRIGHT)
    assert listed.allows_installed("share/tool/a.lua")
    assert not listed.allows_installed("share/tool/contrib/a.lua")


def test_free_text_says_nothing_about_files() -> None:
    listed = DebianCopyright("This package is under the MIT licence.\n")
    assert not listed.readable
    assert not listed.allows("a.c")
