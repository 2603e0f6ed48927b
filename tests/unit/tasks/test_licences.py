"""Licences: texts, declarations, expressions, and what follows from them."""

from __future__ import annotations

import pytest

from tasks.ages import not_built_before
from tasks.licences.conclusion import conclude
from tasks.licences.declared import BSD, from_classifiers, from_expression, from_license_field
from tasks.licences.phrases import COVERS, FINGERPRINTS
from tasks.licences.spdx import Category, category_of, parse
from tasks.licences.texts import copyright_lines, latest_year, normal_form, recognise

MIT = """\
# Copyright (c) 2019 Ada Example
#
# Permission is hereby granted, free of charge, to any person obtaining a copy
# of this software and associated documentation files (the "Software"), to deal
# in the Software without restriction, including without limitation the rights
# to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
# copies of the Software, and to permit persons to whom the Software is
# furnished to do so, subject to the following conditions:
# The above copyright notice and this permission notice shall be included in all
# copies or substantial portions of the Software.
# THE SOFTWARE IS PROVIDED “AS IS”, WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED
"""
ISC = """Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is
hereby granted, provided that the above copyright notice and this permission notice appear in all copies.
THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS SOFTWARE"""
BSD_2 = """Redistribution and use in source and binary forms, with or without modification, are permitted provided
that the following conditions are met: 1. Redistributions of source code must retain the above copyright notice
2. Redistributions in binary form must reproduce the above copyright notice
BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE DISCLAIMED."""
BSD_3 = BSD_2 + "\n3. Neither the name of X may be used to endorse or promote products derived from this software"


def named(text):
    return [match.licence for match in recognise(text)]


@pytest.mark.parametrize(
    ("text", "licences"),
    [
        (MIT, ["MIT"]),
        (MIT.replace("#", ";;").upper(), ["MIT"]),
        (
            MIT.replace("# The above copyright notice and this permission notice shall be included in all\n", ""),
            ["MIT-0"],
        ),
        (ISC, ["ISC"]),
        (
            ISC.replace(
                ", provided that the above copyright notice and this permission notice appear in all copies", ""
            ),
            ["0BSD"],
        ),
        (BSD_2, ["BSD-2-Clause"]),
        (BSD_3, ["BSD-3-Clause"]),
        (BSD_3 + "\n" + MIT, ["BSD-3-Clause", "MIT"]),
        (
            "This is free and unencumbered software released into the public domain. Anyone is free to copy, modify, "
            "publish, use, compile, sell, or distribute this software",
            ["Unlicense"],
        ),
        ('Licensed under the Apache License, Version 2.0 (the "License")', ["Apache-2.0"]),
        ("This Source Code Form is subject to the terms of the Mozilla Public License, v. 2.0.", ["MPL-2.0"]),
        ("All rights reserved. You may look at it on Sundays.", []),
        ("", []),
    ],
)
def test_a_text_is_recognised_whatever_its_layout(text, licences):
    assert named(text) == licences


def test_a_mere_reference_is_less_certain_than_the_text():
    (match,) = recognise("Licensed under the Apache License, Version 2.0")
    assert (match.confidence, match.quoted) == (0.7, False)


def test_every_phrase_is_in_the_normal_form_it_is_compared_with():
    for fingerprint in FINGERPRINTS:
        for phrase in (*fingerprint.phrases, *fingerprint.required, *fingerprint.absent, *fingerprint.grants):
            assert normal_form(phrase) == f" {phrase} ", f"{fingerprint.licence}: {phrase}"


def test_every_licence_that_can_be_recognised_has_a_category():
    known = {fingerprint.licence for fingerprint in FINGERPRINTS}
    assert {licence for licence in known if category_of(licence) is Category.UNKNOWN} == set()
    assert COVERS.keys() <= known


@pytest.mark.parametrize("fingerprint", FINGERPRINTS, ids=lambda fingerprint: fingerprint.licence)
def test_a_text_of_all_its_phrases_is_recognised_as_that_licence_and_nothing_covers_it(fingerprint):
    text = "\n".join((*fingerprint.required, *fingerprint.phrases))
    assert fingerprint.licence in named(text)


def test_copyright_lines_are_claims_and_not_the_licence_talking_of_copyright():
    text = (
        MIT
        + """
    Copyright notice and this permission notice
    Copyright [yyyy] [name of copyright owner]
    (c) You must retain, in the Source form
    Copyright (C) 2007 Free Software Foundation, Inc. <https://fsf.org/>
    © 2020-2024 Grace Example
    """
    )
    lines = copyright_lines(text)
    assert lines == ["Copyright (c) 2019 Ada Example", "© 2020-2024 Grace Example"]
    assert latest_year(lines, 2022) == 2020


@pytest.mark.parametrize(
    ("text", "licences", "category"),
    [
        ("mit", {"MIT"}, Category.PERMISSIVE),
        ("MIT OR GPL-3.0-or-later", {"MIT", "GPL-3.0"}, Category.PERMISSIVE),
        ("MIT AND GPL-3.0-only", {"MIT", "GPL-3.0"}, Category.STRONG_COPYLEFT),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", {"MPL-2.0", "Apache-2.0", "MIT"}, Category.WEAK_COPYLEFT),
        ("MIT OR AGPL-3.0-only AND GPL-2.0-only", {"MIT", "AGPL-3.0", "GPL-2.0"}, Category.PERMISSIVE),
        ("GPL-2.0-only WITH Classpath-exception-2.0", {"GPL-2.0"}, Category.WEAK_COPYLEFT),
        ("AGPL-3.0-or-later", {"AGPL-3.0"}, Category.NETWORK_COPYLEFT),
        ("LicenseRef-Own", {"LicenseRef-Own"}, Category.UNKNOWN),
    ],
)
def test_expressions_have_a_tree_and_a_category(text, licences, category):
    expression = parse(text)
    assert expression is not None
    assert (expression.licences(), expression.category()) == (licences, category)


@pytest.mark.parametrize("text", ["", "MIT OR", "Foo Bar", "MIT)", "(((", "BSD License"])
def test_what_is_no_expression_is_none(text):
    assert parse(text) is None


@pytest.mark.parametrize(
    ("field", "meant"),
    [
        ("MIT", [{"MIT"}]),
        ("The MIT License", [{"MIT"}]),
        ("BSD", [BSD]),
        ("New BSD License", [{"BSD-3-Clause"}]),
        ("BSD 3-Clause", [{"BSD-3-Clause"}]),
        ("Simplified BSD", [{"BSD-2-Clause"}]),
        ("Apache 2.0", [{"Apache-2.0"}]),
        ("Apache License, Version 2.0", [{"Apache-2.0"}]),
        ("ASL 2.0", [{"Apache-2.0"}]),
        ("GPLv3+", [{"GPL-3.0"}]),
        ("GNU Lesser General Public License v3", [{"LGPL-3.0"}]),
        ("LGPLv2.1", [{"LGPL-2.1"}]),
        ("GNU General Public License v2 or later", [{"GPL-2.0"}]),
        ("AGPL v3", [{"AGPL-3.0"}]),
        ("MPL-2.0", [{"MPL-2.0"}]),
        ("Mozilla Public License 2.0", [{"MPL-2.0"}]),
        ("PSF", [{"PSF-2.0", "Python-2.0"}]),
        ("MIT OR Apache-2.0", [{"Apache-2.0"}, {"MIT"}]),
        ("MIT/X11", [{"MIT"}]),
        ("Apache 2.0 or MIT", [{"Apache-2.0"}, {"MIT"}]),
        ("Dual License", []),
        ("UNKNOWN", []),
        ("", []),
        ("Proprietary", [{"LicenseRef-Proprietary"}]),
        ("as is", [set()]),
    ],
)
def test_what_people_write_in_the_license_field_is_understood(field, meant):
    assert [set(claim.any_of) for claim in from_license_field(field)] == [set(group) for group in meant]


def test_classifiers_that_name_no_licence_say_nothing():
    claims = from_classifiers(
        ["License :: OSI Approved", "License :: OSI Approved :: BSD License", "Topic :: Software"]
    )
    assert [(claim.said, claim.any_of) for claim in claims] == [("BSD License", BSD)]


def codes(conclusion):
    return [(finding.code, finding.severity) for finding in conclusion.findings]


def test_a_family_is_narrowed_by_the_text():
    verdict = conclude(from_classifiers(["License :: OSI Approved :: BSD License"]), recognise(BSD_3), 1)
    assert (verdict.licence, verdict.basis, verdict.agrees) == ("BSD-3-Clause", "classifier + text", True)
    assert codes(verdict) == []


@pytest.mark.parametrize(
    ("claims", "text", "licence", "expected"),
    [
        ([], "", "unknown", [("no-licence", "high")]),
        ([from_expression("MIT")], "", "MIT", [("no-text", "medium")]),
        ([from_expression("MIT")], "my own words", "MIT", [("text-unknown", "medium")]),
        ([from_expression("MIT")], ISC, "MIT", [("conflict", "high")]),
        ([from_expression("MIT")], MIT + BSD_3, "MIT", [("text-additional", "low")]),
        ([from_expression("MIT AND ISC")], MIT, "MIT AND ISC", [("text-missing", "medium")]),
        ([from_expression("MIT OR ISC")], MIT, "MIT OR ISC", [("text-missing", "low")]),
        ([from_expression("MIT LICENCE 3")], MIT, "MIT", [("invalid-expression", "medium"), ("not-declared", "low")]),
        ([from_expression("MIT"), *from_license_field("GPLv3")], MIT, "MIT", [("declarations-disagree", "medium")]),
        (from_license_field("BSD"), "", "one of the BSD family", [("no-text", "medium"), ("ambiguous", "low")]),
        (from_license_field("Fancy"), "", "unknown", [("not-understood", "medium"), ("no-licence", "high")]),
        (
            [from_expression("AGPL-3.0-only")],
            "",
            "AGPL-3.0-only",
            [("no-text", "medium"), ("network-copyleft", "high")],
        ),
        ([], MIT, "MIT", [("not-declared", "low")]),
    ],
)
def test_what_is_wrong_is_found_with_its_severity(claims, text, licence, expected):
    verdict = conclude(claims, recognise(text), 1 if text else 0)
    assert verdict.licence == licence
    assert codes(verdict) == expected


def test_the_text_of_the_gpl_beside_the_lgpl_is_no_news():
    both = [match for name in ("LGPL-3.0", "GPL-3.0") for match in recognise(_text_of(name))]
    verdict = conclude([from_expression("LGPL-3.0-only")], both, 2)
    assert verdict.agrees and codes(verdict) == [("weak-copyleft", "medium")]


def _text_of(licence):
    (fingerprint,) = (fingerprint for fingerprint in FINGERPRINTS if fingerprint.licence == licence)
    return "\n".join((*fingerprint.required, *fingerprint.phrases))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (("1.0", "bdist_wheel (0.37.1)", "2.1", 2009), (2021, "built with bdist_wheel (0.37.1)")),
        (("2026.6", "", "2.1", None), (2026, "version 2026.6")),
        (("1.2.20251118", "", "", None), (2025, "version 1.2.20251118")),
        (("3.0", "unknown 1.0", "2.3", 2021), (2022, "metadata format 2.3")),
        (("3.0", "", "", 2099), (None, "")),
    ],
)
def test_a_distribution_was_not_built_before_its_latest_evidence(facts, expected):
    assert not_built_before(*facts, now_year=2026) == expected
