"""What a distribution's metadata says its licence is, as sets of SPDX identifiers it may mean.

Three fields say it: ``License-Expression`` (PEP 639, exact), ``License`` (free text) and the trove
classifiers, some of which name a family only ("BSD License" is any of four).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.licences.spdx import base, parse
from tasks.licences.texts import normal_form

BSD = frozenset({"BSD-1-Clause", "BSD-2-Clause", "BSD-3-Clause", "BSD-4-Clause", "0BSD"})
_GPL = frozenset({"GPL-1.0", "GPL-2.0", "GPL-3.0"})
_LGPL = frozenset({"LGPL-2.0", "LGPL-2.1", "LGPL-3.0"})


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that one source says.

    Parameters
    ----------
    source
        ``License-Expression``, ``License``, ``classifier`` or ``text``.
    said
        As written, shortened.
    any_of
        The licences it may mean; one for a definite claim; empty if it could not be understood.
    """

    source: str
    said: str
    any_of: frozenset[str]


_CLASSIFIERS = {
    "MIT License": {"MIT"}, "MIT No Attribution License (MIT-0)": {"MIT-0"}, "BSD License": BSD,
    "Apache Software License": {"Apache-2.0", "Apache-1.1"}, "ISC License (ISCL)": {"ISC"},
    "Mozilla Public License 2.0 (MPL 2.0)": {"MPL-2.0"}, "Mozilla Public License 1.1 (MPL 1.1)": {"MPL-1.1"},
    "Mozilla Public License 1.0 (MPL)": {"MPL-1.0"},
    "Python Software Foundation License": {"PSF-2.0", "Python-2.0"},
    "Python License (CNRI Python License)": {"CNRI-Python"},
    "GNU General Public License (GPL)": _GPL, "GNU General Public License v2 (GPLv2)": {"GPL-2.0"},
    "GNU General Public License v2 or later (GPLv2+)": {"GPL-2.0", "GPL-3.0"},
    "GNU General Public License v3 (GPLv3)": {"GPL-3.0"},
    "GNU General Public License v3 or later (GPLv3+)": {"GPL-3.0"},
    "GNU Library or Lesser General Public License (LGPL)": _LGPL,
    "GNU Lesser General Public License v2 (LGPLv2)": {"LGPL-2.0", "LGPL-2.1"},
    "GNU Lesser General Public License v2 or later (LGPLv2+)": _LGPL,
    "GNU Lesser General Public License v3 (LGPLv3)": {"LGPL-3.0"},
    "GNU Lesser General Public License v3 or later (LGPLv3+)": {"LGPL-3.0"},
    "GNU Affero General Public License v3": {"AGPL-3.0"},
    "GNU Affero General Public License v3 or later (AGPLv3+)": {"AGPL-3.0"},
    "The Unlicense (Unlicense)": {"Unlicense"}, "zlib/libpng License": {"Zlib", "Libpng"},
    "Zope Public License": {"ZPL-2.1", "ZPL-2.0"},
    "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication": {"CC0-1.0"},
    "Boost Software License 1.0 (BSL-1.0)": {"BSL-1.0"},
    "Eclipse Public License 1.0 (EPL-1.0)": {"EPL-1.0"}, "Eclipse Public License 2.0 (EPL-2.0)": {"EPL-2.0"},
    "European Union Public Licence 1.1 (EUPL 1.1)": {"EUPL-1.1"},
    "European Union Public Licence 1.2 (EUPL 1.2)": {"EUPL-1.2"},
    "Historical Permission Notice and Disclaimer (HPND)": {"HPND", "MIT-CMU"}, "CMU License (MIT-CMU)": {"MIT-CMU"},
    "University of Illinois/NCSA Open Source License": {"NCSA"}, "PostgreSQL License": {"PostgreSQL"},
    "Academic Free License (AFL)": {"AFL-3.0", "AFL-2.1"}, "Artistic License": {"Artistic-1.0", "Artistic-2.0"},
    "Universal Permissive License (UPL)": {"UPL-1.0"}, "SIL Open Font License 1.1 (OFL-1.1)": {"OFL-1.1"},
    "Blue Oak Model License (BlueOak-1.0.0)": {"BlueOak-1.0.0"}, "Zero-Clause BSD (0BSD)": {"0BSD"},
    "Other/Proprietary License": {"LicenseRef-Proprietary"},
}  # fmt: skip
_CATCH_ALL = {"OSI Approved", "DFSG approved", "License", "Public Domain", "Freely Distributable", "Free For Home Use"}

_FREE_TEXT = (
    # First match wins: the narrow before the wide. Matched against the normal form.
    (r"(?:gnu )?(?:affero|agpl)\b.*?(?:3|$)", {"AGPL-3.0"}),
    (r"(?:gnu )?(?:lesser|library|lgpl)\w*\b.*?(?:v| )3", {"LGPL-3.0"}),
    (r"lgpl ?v?3", {"LGPL-3.0"}), (r"lgpl ?v?2 1|lesser.*2 1", {"LGPL-2.1"}),
    (r"lgpl|lesser general|library general", _LGPL),
    (r"gpl ?v?3|general public license.*\b(?:v ?)?3", {"GPL-3.0"}),
    (r"gpl ?v?2|general public license.*\b(?:v ?)?2", {"GPL-2.0"}),
    (r"\bgpl\b|gnu general public", _GPL),
    (r"mpl ?v?1 1|mozilla.*1 1", {"MPL-1.1"}), (r"mpl ?v?2|mozilla.*2", {"MPL-2.0"}),
    (r"\bmpl\b|mozilla public", {"MPL-2.0", "MPL-1.1"}),
    (r"apache.*\b(?:v ?)?2|\basl ?2|al2\b", {"Apache-2.0"}), (r"apache", {"Apache-2.0", "Apache-1.1"}),
    (r"(?:new|modified|revised|3 clause|three clause) bsd|bsd.*\b(?:3|three)\b|bsd3", {"BSD-3-Clause"}),
    (r"(?:simplified|freebsd|2 clause|two clause) ?bsd|bsd.*\b(?:2|two)\b|bsd2|\bfreebsd\b", {"BSD-2-Clause"}),
    (r"0bsd|zero clause|bsd 0", {"0BSD"}), (r"\bbsd\b|bsd (?:style|like)", BSD),
    (r"mit 0|mit no attribution", {"MIT-0"}), (r"mit cmu|\bcmu\b", {"MIT-CMU"}), (r"\bmit\b|expat", {"MIT"}),
    (r"\bisc\b|\biscl\b", {"ISC"}),
    (r"\bpsf|python software foundation", {"PSF-2.0", "Python-2.0"}), (r"unlicen[sc]e", {"Unlicense"}),
    (r"\bcc0\b", {"CC0-1.0"}), (r"zlib", {"Zlib"}), (r"hpnd|historical permission", {"HPND", "MIT-CMU"}),
    (r"\bzpl\b|zope", {"ZPL-2.1", "ZPL-2.0"}), (r"boost", {"BSL-1.0"}), (r"wtfpl", {"WTFPL"}),
    (r"eupl", {"EUPL-1.1", "EUPL-1.2"}), (r"eclipse|\bepl\b", {"EPL-1.0", "EPL-2.0"}),
    (r"proprietary|commercial|all rights reserved|nvidia|\beula\b", {"LicenseRef-Proprietary"}),
)  # fmt: skip


def from_expression(text: str) -> Claim:
    """The claim of a ``License-Expression``; empty ``any_of`` if it is no valid SPDX expression."""
    expression = parse(text)
    return Claim("License-Expression", text[:200], frozenset(expression.licences() if expression else ()))


def is_text(field: str) -> bool:
    """Whether a ``License`` field holds a licence's text instead of its name, which is then no claim."""
    return len(field) > 300


def from_license_field(text: str) -> list[Claim]:
    """The claims of a free ``License`` field: an expression, a name, or several names."""
    said = re.sub(r"\bMIT ?/ ?X11\b", "MIT", " ".join(text.split()))  # an old name for it, not two licences
    if not said or said.lower() in {"unknown", "none", "n/a", "license", "see license", "dual license"}:
        return []
    if expression := parse(said):
        return [Claim("License", said[:200], frozenset({name})) for name in sorted(expression.licences())]
    if is_text(text):
        return []
    pieces = re.split(r"\s+(?:or|and)\s+(?!later)|\s*[/;&|]\s*|,\s+(?!version|v\d)", said, flags=re.IGNORECASE)
    claims = [Claim("License", piece[:200], _named(piece)) for piece in pieces if piece.strip()]
    understood = [claim for claim in claims if claim.any_of]
    return understood or [Claim("License", said[:200], _named(said))]


def from_classifiers(classifiers: Sequence[str]) -> list[Claim]:
    """The claims of the ``License ::`` classifiers; those that name no licence say nothing."""
    claims = []
    for classifier in classifiers:
        parts = classifier.split(" :: ")
        if parts[0] == "License" and parts[-1] not in _CATCH_ALL:
            claims.append(Claim("classifier", parts[-1], frozenset(_CLASSIFIERS.get(parts[-1]) or _named(parts[-1]))))
    return claims


def _named(text: str) -> frozenset[str]:
    if (expression := parse(text)) and expression.licence:
        return frozenset({base(expression.licence)})
    words = normal_form(text)
    for pattern, licences in _FREE_TEXT:
        if re.search(pattern, words):
            return frozenset(licences)
    return frozenset()
