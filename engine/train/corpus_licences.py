"""Reads what a package's own metadata says about its licence, and whether that allows learning from it.

A package is taken where its metadata agrees with the list of permissive licences below; for Debian sources this is
decided file by file from `debian/copyright`. It knows metadata, not source text: notices inside files are `filters.py`.
"""

from __future__ import annotations

import fnmatch
import json
import re
from dataclasses import dataclass
from email.parser import HeaderParser

PERMISSIVE = re.compile(
    r"(?i)^("
    r"(the )?mit( licen[sc]e)?( \(mit\))?|mit-0|mit-cmu|mit/x|expat|x11|isc( licen[sc]e)?( \(iscl\))?|0bsd|zlib(/libpng)?|libpng|curl"
    r"|(the )?unlicense( \(unlicense\))?|cc0(-1\.0)?|public[- ]domain|cc-by-[34]\.0"
    r"|(new |modified |simplified |revised |3-clause |2-clause |original )?bsd([- ][0-9])?([- ]clauses?)?( licen[sc]e)?( [0-9].clause)?"
    r"|(the )?apache([- ]2(\.0)?)?(,? ?(software )?licen[sc]e)?(,? ?(version|v)? ?2(\.0)?)?( \(apache[- ]2\.0\))?|asl ?2(\.0)?"
    r"|psf(-2\.0)?|python-2\.0(\.1)?|python software foundation licen[sc]e|cnri-python.*"
    r"|hpnd(-.*)?|historical permission notice and disclaimer( \(hpnd\))?|repoze public licen[sc]e|licenseref-repoze-bsd-derived"
    r"|llvm-exception|bsl-1\.0|boost(-1(\.0)?)?|blueoak-1\.0\.0|ncsa|postgresql|zpl[- ]2\.1|openssl|sqlite|tcl|wtfpl|bzip2.*|unicode.*"
    r")$"
)
COPYLEFT = re.compile(
    r"(?i)\b[al]?gpl|general public|mozilla|\bmpl|eclipse|\bepl|cddl|\beupl|cc-by-(sa|nc|nd)|sspl|\bbusl|proprietary|commercial|non-?free"
)
GRANTS = re.compile(
    r"(?i)permission is hereby granted, free of charge|redistribution and use in source and binary forms|apache license\s+version 2\.0"
)
OSI = "License :: OSI Approved :: "


@dataclass(frozen=True, slots=True)
class Verdict:
    """`evidence` is the metadata that was read, in its own words; `permissive` is whether it allows use."""

    permissive: bool
    evidence: str


def permissive(expression: str) -> bool:
    """True where a licence expression (SPDX, or the loose forms in old metadata) can be met under permissive licences alone."""
    text = re.sub(r"\s+", " ", expression).strip().strip(".")
    while text.startswith("(") and text.endswith(")") and text.count("(") == text.count(")") == 1:
        text = text[1:-1]
    if not text:
        return False
    if PERMISSIVE.match(text):
        return True
    for separator, together in ((r" and ", all), (r" or | ?/ ?|\|", any), (r" with |[,;&]\s*", all)):
        parts = [p for p in _split(text, separator) if p]
        if len(parts) > 1:
            return together(permissive(part) for part in parts)
    return False


def of_wheel(metadata: str, licence_files: str = "") -> Verdict:
    """From METADATA: the licence expression, else the classifiers, else the free-text field, else the licence files' own words."""
    headers = HeaderParser().parsestr(metadata)
    if expression := headers.get("License-Expression"):
        return Verdict(permissive(expression), expression)
    named = [c.removeprefix(OSI) for c in headers.get_all("Classifier", []) if c.startswith(OSI)]
    if named:
        return Verdict(any(permissive(n) for n in named) and not any(COPYLEFT.search(n) for n in named), "; ".join(named))
    field = str(headers.get("License") or "")
    text = field if len(field) > 100 or not licence_files else licence_files
    first = next((line.strip() for line in field.splitlines() if line.strip()), "")
    if permissive(first):
        return Verdict(True, first)
    granted = GRANTS.search(text)
    return Verdict(
        bool(granted) and not COPYLEFT.search(first) and not re.search("GNU", text),
        first or (f"licence file: {granted[0]}" if granted else "nothing said"),
    )


def of_npm(package_json: str) -> Verdict:
    """From package.json."""
    found = json.loads(package_json).get("license", "")
    expression = found.get("type", "") if isinstance(found, dict) else str(found)
    return Verdict(permissive(expression), expression)


class DebianCopyright:
    """`debian/copyright` in the machine-readable format: which licence each file of the source is under."""

    def __init__(self, text: str, also: tuple[str, ...] = ()) -> None:
        self._also = also
        self._stanzas: list[tuple[re.Pattern[str], str]] = []
        self._bound: set[str] = set()
        for paragraph in re.split(r"\n[ \t]*\n", text):
            fields = _fields(paragraph)
            if "files" in fields and "license" in fields:
                globs, licence = fields["files"].split(), fields["license"].splitlines()[0].strip()
                self._stanzas.append((re.compile("|".join(fnmatch.translate(g) for g in globs)), licence))
                if not self._free(licence):
                    self._bound |= {g.rstrip("/*").rsplit("/", 1)[-1] for g in globs}

    @property
    def readable(self) -> bool:
        """False for a copyright file in free text, which says nothing about single files."""
        return bool(self._stanzas)

    def licence(self, path: str) -> str:
        """The licence of one file; the last stanza that names it decides."""
        return next((name for pattern, name in reversed(self._stanzas) if pattern.match(path)), "")

    def allows(self, path: str) -> bool:
        """True where one file may be used."""
        return self._free(self.licence(path))

    def allows_installed(self, path: str) -> bool:
        """The same for a file of a binary package, which stands elsewhere than in the source: one bound name in its path refuses it."""
        return self._bound.isdisjoint(path.split("/"))

    def _free(self, licence: str) -> bool:
        return licence in self._also or permissive(licence.replace(",", " "))


def _fields(paragraph: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in paragraph.split("\n"):
        if line[:1].isspace():
            if name:
                fields[name] += "\n" + line.strip()
        elif ":" in line and not line.startswith("#"):
            name, value = line.split(":", 1)
            name = name.lower()
            fields[name] = value.strip()
    return fields


def _split(text: str, separator: str) -> list[str]:
    """Splits at a separator outside parentheses."""
    parts, depth, start = [], 0, 0
    for match in re.finditer(rf"(?i)\(|\)|{separator}", text):
        if match[0] == "(":
            depth += 1
        elif match[0] == ")":
            depth -= 1
        elif depth == 0:
            parts.append(text[start : match.start()].strip())
            start = match.end()
    return [*parts, text[start:].strip()]
