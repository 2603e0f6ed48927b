"""The year before which an installed distribution was certainly not built, from what is on the disk.

Installers rewrite the times of files, so nothing says when a wheel was built. What built it does: no
wheel is older than the tool, the metadata format, or the years written in it. Wheels built by a tool
newer than this table are given the table's latest year: the bound stays true, only less sharp.
"""

from __future__ import annotations

import re

_TOOLS: dict[str, tuple[tuple[tuple[int, int], int], ...]] = {
    # First version of each year, from the tools' release histories.
    "bdist_wheel": (((0, 29), 2016), ((0, 30), 2017), ((0, 31), 2018), ((0, 33), 2019), ((0, 34), 2020),
                    ((0, 37), 2021), ((0, 38), 2022), ((0, 40), 2023), ((0, 43), 2024)),
    "setuptools": (((70, 1), 2024), ((76, 0), 2025)),
    "poetry-core": (((1, 0), 2020), ((1, 1), 2022), ((1, 5), 2023), ((1, 9), 2024), ((2, 0), 2025)),
    "hatchling": (((1, 0), 2022), ((1, 13), 2023), ((1, 22), 2024)),
    "flit": (((3, 2), 2021), ((3, 7), 2022), ((3, 9), 2023), ((3, 10), 2024), ((3, 11), 2025)),
    "maturin": (((1, 0), 2023), ((1, 5), 2024), ((1, 8), 2025)),
}  # fmt: skip
_METADATA = {"2.1": 2018, "2.2": 2021, "2.3": 2022, "2.4": 2024}
_GENERATOR = re.compile(r"^([A-Za-z_-]+)\s*\(?v?(\d+)\.(\d+)")
_DATED = re.compile(r"(?:^|\.)(20[0-4]\d)(?:\d{4})?(?:\.|$)")


def not_built_before(
    version: str, generator: str, metadata_version: str, copyright_year: int | None, now_year: int
) -> tuple[int | None, str]:
    """The latest year that some evidence gives, and that evidence; ``None`` if there is none.

    Parameters
    ----------
    version
        Of the distribution; counts if it holds a date (``2026.6``, ``1.2.20251118``).
    generator
        ``Generator`` of its WHEEL file, such as ``hatchling 1.27.0``.
    metadata_version
        Of its METADATA: the year its format was accepted.
    copyright_year
        Latest year in its copyright notices.
    now_year
        Years after it are taken for mistakes.

    References
    ----------
    Core metadata specifications: PEP 566 (2.1), 643 (2.2), 685 (2.3), 639 (2.4).
    """
    dated = _DATED.search(version)
    evidence = (
        (int(dated[1]) if dated else None, f"version {version}"),
        (_tool_year(generator), f"built with {generator}"),
        (copyright_year, "copyright notice"),
        (_METADATA.get(metadata_version), f"metadata format {metadata_version}"),
    )
    known = [(year, why) for year, why in evidence if year is not None and year <= now_year]
    return max(known, key=lambda item: item[0], default=(None, ""))


def _tool_year(generator: str) -> int | None:
    match = _GENERATOR.match(generator)
    if match is None:
        return None
    version = (int(match[2]), int(match[3]))
    years = [year for first, year in _TOOLS.get(match[1].lower(), ()) if version >= first]
    return years[-1] if years else None
