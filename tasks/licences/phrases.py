"""Distinctive phrases of the common licences, in the normal form of ``tasks.licences.texts``.

A phrase is chosen so that a person who edits a licence's name, holder or layout leaves it standing,
and so that the phrases of one licence are not all found in another. Nothing but data here.

References
----------
SPDX License List 3.27, https://spdx.org/licenses/ : the identifiers and the texts.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """One licence.

    Parameters
    ----------
    licence
        SPDX identifier, without ``-only`` or ``-or-later``: a text does not say which of them is meant.
    phrases
        Phrases of the full text; the share found is the confidence.
    absent
        Phrases that a close relative has and this one has not.
    required
        Phrases without which it is not this licence, whatever else is found.
    grants
        Short notices by which a file refers to the licence instead of quoting it.
    """

    licence: str
    phrases: tuple[str, ...]
    absent: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    grants: tuple[str, ...] = ()


_MIT = (
    "permission is hereby granted free of charge to any person obtaining a copy of",
    "to deal in the software without restriction including without limitation the rights to use copy modify merge",
    "to permit persons to whom the software is furnished to do so",
    "the software is provided as is without warranty of any kind express or implied",
)
_MIT_NOTICE = "shall be included in all copies or substantial portions of the software"
_BSD = (
    "redistribution and use in source and binary forms",
    "with or without modification are permitted provided that the following conditions are met",
    "must retain the above copyright notice",
    "must reproduce the above copyright notice",
    "but not limited to the implied warranties of merchantability and fitness for a particular purpose are disclaimed",
)
_ENDORSE = "endorse or promote products derived from this software"
_ADVERTISE = "all advertising materials mentioning features or use of this software must display"
_ISC = (
    "permission to use copy modify and or distribute this software for any purpose with or without fee is hereby",
    "the software is provided as is and the author disclaims all warranties with regard to this software",
    "an action of contract negligence or other tortious action arising out of or in connection with the use",
)
_ISC_NOTICE = "provided that the above copyright notice and this permission notice appear in all copies"
_HPND = (
    "permission to use copy modify and distribute this software and its documentation for any purpose and without fee"
)

FINGERPRINTS = (
    Fingerprint("MIT", (*_MIT, _MIT_NOTICE), required=(_MIT[0], _MIT_NOTICE),
                grants=("licensed under the mit license", "released under the mit license",
                        "distributed under the terms of the mit license", "opensource org licenses mit")),
    Fingerprint("MIT-0", _MIT, absent=(_MIT_NOTICE,), required=(_MIT[0], _MIT[1])),
    Fingerprint("X11", (*_MIT, _MIT_NOTICE, "except as contained in this notice the name of"),
                required=(_MIT[0], _MIT_NOTICE, "except as contained in this notice the name of")),
    Fingerprint("MIT-CMU", (
        "by obtaining using and or copying this software and or its associated documentation you agree that you",
        "permission to use copy modify and distribute this software and its associated documentation for any purpose",
        "not be used in advertising or publicity pertaining to distribution of the software without specific"),
        required=("by obtaining using and or copying this software and or its associated documentation",)),
    Fingerprint("BSD-2-Clause", _BSD, absent=(_ENDORSE, _ADVERTISE, "may be used to endorse or promote"),
                required=(_BSD[0], _BSD[3])),
    Fingerprint("BSD-3-Clause", (*_BSD, "endorse or promote products derived from"), absent=(_ADVERTISE,),
                required=(_BSD[0], "endorse or promote products derived from")),
    Fingerprint("BSD-4-Clause", (*_BSD, "endorse or promote products derived from", _ADVERTISE),
                required=(_BSD[0], _ADVERTISE)),
    Fingerprint("BSD-1-Clause", _BSD[:3], absent=("must reproduce the above copyright notice", "reproduce the above"),
                required=_BSD[:3]),
    Fingerprint("Apache-2.0", (
        "apache license version 2 0 january 2004",
        "terms and conditions for use reproduction and distribution",
        "grant of copyright license subject to the terms and conditions of this license each contributor",
        "grant of patent license subject to the terms and conditions of this license each contributor",
        "unless you explicitly state otherwise any contribution intentionally submitted for inclusion"),
        required=("grant of patent license subject to the terms and conditions of this license",),
        grants=("licensed under the apache license version 2 0", "apache org licenses license 2 0",
                "apache software license 2 0", "under the terms of the apache license version 2 0")),
    Fingerprint("MPL-2.0", (
        "mozilla public license version 2 0",
        "covered software is provided under this license on an as is basis",
        "the initial contributor has attached the notice described in exhibit b",
        "each contributor hereby grants you a world wide royalty free non exclusive license"),
        required=("covered software is provided under this license",),
        grants=("subject to the terms of the mozilla public license v 2 0", "mozilla org mpl 2 0")),
    Fingerprint("MPL-1.1", (
        "mozilla public license version 1 1",
        "the initial developer hereby grants you a world wide royalty free non exclusive license",
        "original code is software code"), required=("mozilla public license version 1 1",)),
    Fingerprint("ISC", (*_ISC, _ISC_NOTICE), required=(_ISC_NOTICE,),
                absent=("permission is hereby granted free of charge",)),
    Fingerprint("0BSD", _ISC, required=(_ISC[0],), absent=(_ISC_NOTICE,)),
    Fingerprint("HPND", (
        _HPND, "provided that the above copyright notice appear in all copies",
        "appear in supporting documentation",
        "not be used in advertising or publicity pertaining to distribution of the software without specific"),
        required=(_HPND,), absent=("by obtaining using and or copying this software",)),
    Fingerprint("PSF-2.0", (
        "this license agreement is between the python software foundation psf and the individual or organization",
        "psf hereby grants licensee a nonexclusive royalty free world wide license to reproduce analyze test",
        "psf is making python available to licensee on an as is basis"),
        grants=("python software foundation license version 2", "under the psf license")),
    Fingerprint("Python-2.0", (
        "this license agreement is between the python software foundation psf and the individual or organization",
        "psf is making python available to licensee on an as is basis",
        "beopen com license agreement for python 2 0",
        "cwi license agreement for python 0 9 0 through 1 2"),
        required=("beopen com license agreement for python 2 0",)),
    Fingerprint("CNRI-Python", (
        "cnri hereby grants licensee a nonexclusive royalty free world wide license to reproduce analyze test",
        "cnri is making"), required=("cnri hereby grants licensee a nonexclusive",),
                grants=("cnri s python 1 6 license",)),
    Fingerprint("GPL-2.0", (
        "gnu general public license version 2 june 1991",
        "the licenses for most software are designed to take away your freedom to share and change it",
        "you may copy and distribute verbatim copies of the program s source code as you receive it",
        "each time you redistribute the program or any work based on the program the recipient automatically receives"),
        required=("gnu general public license version 2 june 1991",),
        grants=("gnu general public license as published by the free software foundation either version 2",
                "gnu general public license version 2 as published by the free software foundation")),
    Fingerprint("GPL-3.0", (
        "gnu general public license version 3 29 june 2007",
        "the gnu general public license is a free copyleft license for software and other kinds of works",
        "to protect your rights we need to prevent others from denying you these rights",
        "you may convey verbatim copies of the program s source code as you receive it"),
        required=("gnu general public license version 3 29 june 2007", "is a free copyleft license for software"),
        absent=("gnu affero general public license version 3 19 november 2007",),
        grants=("gnu general public license as published by the free software foundation either version 3",)),
    Fingerprint("GPL-3.0-with-GCC-exception", (
        "gcc runtime library exception version 3 1",
        "this gcc runtime library exception exception is an additional permission under section 7"),
        required=("gcc runtime library exception version 3 1",)),
    Fingerprint("AGPL-3.0", (
        "gnu affero general public license version 3 19 november 2007",
        "specifically designed to ensure cooperation with the community in the case of network server software",
        "remote network interaction use with the gnu general public license",
        "you may convey verbatim copies of the program s source code as you receive it"),
        required=("gnu affero general public license version 3 19 november 2007",),
        grants=("gnu affero general public license as published by the free software foundation either version 3",)),
    Fingerprint("LGPL-2.0", (
        "gnu library general public license version 2 june 1991",
        "this license the library general public license applies to some specially designated"),
        required=("gnu library general public license version 2 june 1991",)),
    Fingerprint("LGPL-2.1", (
        "gnu lesser general public license version 2 1 february 1999",
        "this is the first released version of the lesser gpl",
        "a program that contains no derivative of any portion of the library but is designed to work with the library",
        "you may copy and distribute verbatim copies of the library s complete source code as you receive it"),
        required=("gnu lesser general public license version 2 1 february 1999",),
        grants=("gnu lesser general public license as published by the free software foundation either version 2 1",)),
    Fingerprint("LGPL-3.0", (
        "gnu lesser general public license version 3 29 june 2007",
        "this version of the gnu lesser general public license incorporates the terms and conditions of version 3",
        "a combined work is a work produced by combining or linking an application with the library",
        "object code incorporating material from library header files"),
        required=("gnu lesser general public license version 3 29 june 2007",),
        grants=("gnu lesser general public license as published by the free software foundation either version 3",)),
    Fingerprint("Unlicense", (
        "this is free and unencumbered software released into the public domain",
        "anyone is free to copy modify publish use compile sell or distribute this software",
        "in jurisdictions that recognize copyright laws the author or authors of this software dedicate"),
        required=("this is free and unencumbered software released into the public domain",)),
    Fingerprint("Zlib", (
        "in no event will the authors be held liable for any damages arising from the use of this software",
        "the origin of this software must not be misrepresented you must not claim that you wrote the original",
        "altered source versions must be plainly marked as such and must not be misrepresented",
        "this notice may not be removed or altered from any source distribution"),
        required=("the origin of this software must not be misrepresented",)),
    Fingerprint("CC0-1.0", (
        "cc0 1 0 universal",
        "the laws of most jurisdictions throughout the world automatically confer exclusive copyright",
        "affirmer hereby overtly fully permanently irrevocably and unconditionally waives abandons and surrenders"),
        required=("cc0 1 0 universal",), grants=("creativecommons org publicdomain zero 1 0",)),
    Fingerprint("CC-BY-4.0", (
        "creative commons attribution 4 0 international", "by exercising the licensed rights defined below you accept"),
        required=("creative commons attribution 4 0 international",),
        absent=("creative commons attribution sharealike 4 0 international",)),
    Fingerprint("CC-BY-SA-4.0", (
        "creative commons attribution sharealike 4 0 international",
        "by exercising the licensed rights defined below you accept"),
        required=("creative commons attribution sharealike 4 0 international",)),
    Fingerprint("BSL-1.0", (
        "boost software license version 1 0",
        "to use reproduce display distribute execute and transmit the software and to prepare derivative works",
        "machine executable object code generated by a source language processor")),
    Fingerprint("EPL-2.0", (
        "eclipse public license v 2 0",
        "the accompanying program is provided under the terms of this eclipse public license",
        "exhibit a form of secondary licenses notice")),
    Fingerprint("EPL-1.0", (
        "eclipse public license v 1 0",
        "the accompanying program is provided under the terms of this eclipse public license"),
        required=("eclipse public license v 1 0",)),
    Fingerprint("EUPL-1.2", ("european union public license v 1 2", "the licensor waives in favour of")),
    Fingerprint("CDDL-1.0", (
        "common development and distribution license cddl version 1 0",
        "the initial developer hereby grants you a world wide royalty free non exclusive license")),
    Fingerprint("Artistic-2.0", (
        "the artistic license 2 0", "you may distribute verbatim copies of the source form of the standard version")),
    Fingerprint("ZPL-2.1", (
        "zope public license zpl version 2 1",
        "the right to distribute this software or to use it for any purpose does not give you the right")),
    Fingerprint("NCSA", (
        "to deal with the software without restriction including without limitation the rights",
        "neither the names of", "may be used to endorse or promote products derived from this software"),
        required=("to deal with the software without restriction",)),
    Fingerprint("PostgreSQL", (
        "permission to use copy modify and distribute this software and its documentation for any purpose without fee",
        "without a written agreement is hereby granted provided that the above copyright notice and this paragraph"),
        required=("without a written agreement is hereby granted",)),
    Fingerprint("OFL-1.1", (
        "sil open font license version 1 1", "neither the font software nor any of its individual components"),
        required=("sil open font license version 1 1",)),
    Fingerprint("OpenSSL", (
        "this product includes software developed by the openssl project",
        "openssl toolkit and openssl project must not be used to endorse"),
        required=("openssl toolkit and openssl project must not be used",)),
    Fingerprint("WTFPL", ("do what the fuck you want to public license", "everyone is permitted to copy"),
                required=("do what the fuck you want to public license",)),
    Fingerprint("BlueOak-1.0.0", ("blue oak model license version 1 0 0", "in order to receive this license you must")),
    Fingerprint("Unicode-3.0", (
        "unicode license v3",
        "permission is hereby granted free of charge to any person obtaining a copy of data files"),
        required=("permission is hereby granted free of charge to any person obtaining a copy of data files",)),
    Fingerprint("UPL-1.0", ("the universal permissive license upl version 1 0", "the larger works")),
    Fingerprint("MS-PL", ("microsoft public license ms pl", "if you use the software you accept this license")),
    Fingerprint("BUSL-1.1", (
        "business source license 1 1", "on the change date", "make non production use of the licensed work"),
        required=("make non production use of the licensed work",)),
    Fingerprint("SSPL-1.0", (
        "server side public license", "offering the program as a service",
        "making the functionality of the program available to third parties as a service")),
    Fingerprint("Elastic-2.0", (
        "elastic license 2 0", "you may not provide the software to third parties as a hosted or managed service")),
    Fingerprint("LicenseRef-Proprietary", (
        "all rights reserved", "end user license agreement", "reverse engineer decompile or disassemble"),
        required=("end user license agreement",),
        absent=("redistribution and use in source and binary forms",)),
)  # fmt: skip

COVERS = {
    "GPL-3.0-with-GCC-exception": {"GPL-3.0"},
    # Texts that quote or carry another licence as a part of themselves: the part is not news.
    "X11": {"MIT"},
    "NCSA": {"BSD-3-Clause", "MIT"},
    "Unicode-3.0": {"MIT", "X11"},
    "MIT-CMU": {"HPND"},
    "PostgreSQL": {"HPND"},
    "Python-2.0": {"PSF-2.0", "CNRI-Python", "HPND", "0BSD"},
    "LGPL-3.0": {"GPL-3.0"},  # it is a set of permissions on top of the GPL, whose text must go with it
    "MPL-1.1": {"CDDL-1.0"},
    "OpenSSL": {"BSD-4-Clause", "BSD-3-Clause"},
    "BSD-4-Clause": {"BSD-3-Clause"},
}
