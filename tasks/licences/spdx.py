"""SPDX expressions: parsing, and what category a licence or an expression belongs to.

Expressions are checked by ``packaging.licenses``, as installers do; this module adds the tree, which
is needed to tell a choice (OR) from an obligation (AND).

References
----------
SPDX 3.0.1, annex B, licence expressions: WITH binds strongest, then AND, then OR. PEP 639.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression


class Category(StrEnum):
    """What a licence asks of whoever passes the software on, least first."""

    PERMISSIVE = "permissive"  # keep notices; little else
    WEAK_COPYLEFT = "weak copyleft"  # changes to its own files or library stay under it
    STRONG_COPYLEFT = "strong copyleft"  # a work based on it is passed on under it
    NETWORK_COPYLEFT = "network copyleft"  # so too when it is only used over a network
    PROPRIETARY = "proprietary"  # use or distribution restricted, or not open source
    UNKNOWN = "unknown"  # nothing that could be told


ORDER = tuple(Category)

_CATEGORIES = {
    Category.PERMISSIVE: (
        "MIT MIT-0 MIT-CMU MIT-Modern-Variant X11 BSD-1-Clause BSD-2-Clause BSD-2-Clause-Patent BSD-3-Clause "
        "BSD-3-Clause-Clear BSD-3-Clause-LBNL BSD-4-Clause BSD-4-Clause-UC BSD-Source-Code 0BSD Apache-1.1 Apache-2.0 "
        "ISC HPND HPND-sell-variant PSF-2.0 Python-2.0 Python-2.0.1 CNRI-Python Unlicense Zlib zlib-acknowledgement "
        "Libpng libpng-2.0 CC0-1.0 CC-BY-3.0 CC-BY-4.0 BSL-1.0 Artistic-2.0 AFL-2.1 AFL-3.0 ZPL-2.0 ZPL-2.1 NCSA "
        "PostgreSQL OFL-1.1 OpenSSL WTFPL BlueOak-1.0.0 Unicode-3.0 Unicode-DFS-2016 UPL-1.0 MS-PL curl W3C "
        "bzip2-1.0.6 TCL FTL IJG Info-ZIP Beerware MulanPSL-2.0 ECL-2.0 EFL-2.0 blessing CDLA-Permissive-2.0 JSON "
        "FSFAP FSFUL FSFULLR NTP ICU Ruby PHP-3.01 Xnet SSH-OpenSSH TU-Berlin-2.0 Sleepycat-permissive NIST-PD"
    ),
    Category.WEAK_COPYLEFT: (
        "MPL-1.0 MPL-1.1 MPL-2.0 MPL-2.0-no-copyleft-exception LGPL-2.0 LGPL-2.1 LGPL-3.0 EPL-1.0 EPL-2.0 CDDL-1.0 "
        "CDDL-1.1 CPL-1.0 IPL-1.0 Artistic-1.0 Artistic-1.0-Perl MS-RL APSL-2.0 CECILL-C GCC-exception-3.1 "
        "GPL-2.0-with-classpath-exception GPL-3.0-with-GCC-exception EUPL-1.1 EUPL-1.2 "
        "CC-BY-SA-3.0 CC-BY-SA-4.0 ODbL-1.0"
    ),
    Category.STRONG_COPYLEFT: "GPL-1.0 GPL-2.0 GPL-3.0 CECILL-2.0 CECILL-2.1 Sleepycat QPL-1.0 OSL-2.1",
    Category.NETWORK_COPYLEFT: "AGPL-1.0 AGPL-3.0 OSL-3.0 RPL-1.5 CPAL-1.0",
    Category.PROPRIETARY: (
        "LicenseRef-Proprietary BUSL-1.1 SSPL-1.0 Elastic-2.0 PolyForm-Noncommercial-1.0.0 "
        "PolyForm-Small-Business-1.0.0 CC-BY-NC-4.0 CC-BY-NC-SA-4.0 CC-BY-NC-ND-4.0 CC-BY-ND-4.0 Parity-7.0.0"
    ),
}  # fmt: skip
_CATEGORY_OF = {name.lower(): category for category, names in _CATEGORIES.items() for name in names.split()}
_SUFFIX = re.compile(r"(?:-only|-or-later|\+)$", re.IGNORECASE)
_TOKENS = re.compile(r"[()]|[^\s()]+")


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression: ``operator`` is ``AND``, ``OR``, or empty for one licence."""

    operator: str = ""
    licence: str = ""
    exception: str = ""
    parts: tuple[Expression, ...] = ()

    def licences(self) -> set[str]:
        """Every licence named, without ``-only`` and ``-or-later``."""
        return {base(self.licence)} if self.licence else set().union(*(part.licences() for part in self.parts))

    def category(self) -> Category:
        """The least demanding of a choice, the most demanding of an obligation."""
        if self.licence:
            return _with_exception(category_of(self.licence), self.exception)
        ranks = [ORDER.index(part.category()) for part in self.parts]
        return ORDER[min(ranks) if self.operator == "OR" else max(ranks)]


def parse(text: str) -> Expression | None:
    """``text`` as an SPDX expression; ``None`` if it is none."""
    try:
        canonical = canonicalize_license_expression(text)
    except InvalidLicenseExpression:
        return None
    tokens = _TOKENS.findall(canonical)
    expression = _choice(tokens)
    return expression if not tokens else None


def base(licence: str) -> str:
    """The identifier without ``-only``, ``-or-later`` or ``+``."""
    return _SUFFIX.sub("", licence)


def category_of(licence: str) -> Category:
    """The category of one identifier; ``UNKNOWN`` if it is not in the table."""
    return _CATEGORY_OF.get(base(licence).lower(), Category.UNKNOWN)


def _with_exception(category: Category, exception: str) -> Category:
    # Exceptions such as Classpath or GCC's exist to let other works link without the copyleft.
    return Category.WEAK_COPYLEFT if exception and category is Category.STRONG_COPYLEFT else category


def _choice(tokens: list[str]) -> Expression:
    parts = [_obligation(tokens)]
    while tokens and tokens[0] == "OR":
        tokens.pop(0)
        parts.append(_obligation(tokens))
    return parts[0] if len(parts) == 1 else Expression("OR", parts=tuple(parts))


def _obligation(tokens: list[str]) -> Expression:
    parts = [_licence(tokens)]
    while tokens and tokens[0] == "AND":
        tokens.pop(0)
        parts.append(_licence(tokens))
    return parts[0] if len(parts) == 1 else Expression("AND", parts=tuple(parts))


def _licence(tokens: list[str]) -> Expression:
    token = tokens.pop(0)
    if token == "(":  # noqa: S105 - a bracket, no password
        inner = _choice(tokens)
        tokens.pop(0)
        return inner
    if tokens and tokens[0] == "WITH":
        tokens.pop(0)
        return Expression(licence=token, exception=tokens.pop(0))
    return Expression(licence=token)
