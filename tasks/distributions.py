"""Reads what is installed: metadata, licence files, sizes and times of Python distributions.

Reads only below the folders it is given, and only files that a distribution's own record names or its
metadata folder holds. It judges nothing; ``tasks.licences`` does.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import Distribution, PackagePath
from importlib.metadata import distributions as installed
from pathlib import Path, PurePosixPath

from packaging.utils import canonicalize_name

from tasks.licences.declared import is_text

TEXT_MAX_BYTES = 1024 * 1024
"""Of a licence file, what is read; a longer one is a collection, and its start tells enough."""

TEXTS_MAX = 60
_LICENCE_NAME = re.compile(r"(?:un)?licen[cs]e|copying|copyright|eula|.*[-_.]licen[cs]es?\b", re.IGNORECASE)
_NOTICE_NAME = re.compile(r"notice|third.?party", re.IGNORECASE)
_NO_LICENCE_NAME = re.compile(r"authors|contributors|credits|thanks", re.IGNORECASE)
_NO_TEXT = {".py", ".pyc", ".pyi", ".so", ".json", ".html", ".png", ".svg", ".h", ".c", ".js", ".css", ".toml", ".yaml"}
_BUNDLES = {"_vendor", "vendor", "vendored", "third_party", "thirdparty", "externals", "extern", "_bundled"}


@dataclass(frozen=True, slots=True)
class LicenceFile:
    """A file that holds, or may hold, a licence: ``bundled`` for that of a part brought along."""

    path: str
    text: str
    size_bytes: int
    sha256: str
    bundled: bool
    notice: bool


@dataclass(frozen=True, slots=True)
class Extent:
    """What a distribution takes on disk, in bytes and files, and when its files were written."""

    size_bytes: int
    file_count: int
    recorded: bool
    installed_at: datetime | None
    newest_file_at: datetime | None


@lru_cache(maxsize=1)
def library_paths() -> list[Path]:
    """The folders in which the running interpreter finds installed distributions; looked for once a process."""
    folders = dict.fromkeys(Path(entry).resolve() for entry in sys.path if entry)
    return [folder for folder in folders if folder.is_dir() and next(iter(installed(path=[str(folder)])), None)]


def listed(paths: Sequence[Path]) -> list[tuple[str, str, Path]]:
    """Name, version and metadata folder of every distribution in ``paths``, in order of name.

    Of two of one name the first on the path is taken, as an import would.
    """
    found: dict[str, tuple[str, str, Path]] = {}
    for path in paths:
        here: dict[str, tuple[str, str, Path]] = {}
        for distribution in installed(path=[str(path)]):
            location = _metadata_folder(distribution)
            name, version = _name_and_version(distribution, location)
            if name and location:  # a half-removed distribution has a folder and no name
                here.setdefault(str(canonicalize_name(name)), (name, version, location))
        for key in sorted(here):
            found.setdefault(key, here[key])
    return [found[key] for key in sorted(found)]


def _name_and_version(distribution: Distribution, location: Path | None) -> tuple[str, str]:
    try:
        return distribution.metadata["Name"] or "", distribution.version or ""
    except UnicodeDecodeError:  # its folder is named after it; that the metadata is broken, its inspection will say
        name, _, version = (location.stem if location else "").partition("-")
        return name, version


def opened(location: Path) -> Distribution:
    """The distribution whose metadata folder (``*.dist-info`` or ``*.egg-info``) is ``location``."""
    return Distribution.at(location)


def _metadata_folder(distribution: Distribution) -> Path | None:
    folder = getattr(distribution, "_path", None)  # importlib.metadata has no public name for it
    return Path(folder) if folder is not None else None


def licence_files(distribution: Distribution, location: Path) -> list[LicenceFile]:
    """The licence and notice files, those of the metadata folder first, each read once.

    They are what ``License-File`` names (PEP 639), what lies in ``licenses/``, and files named so in
    the metadata folder; where there are none, also such files in the top folders of the packages.
    """
    paths = dict(_in_metadata(distribution, location)) or dict(_in_packages(distribution, location))
    files, seen = [], set()
    for path, bundled in sorted(paths.items(), key=lambda item: (item[1], item[0]))[:TEXTS_MAX]:
        data = _bytes(path, location.parent)
        digest = hashlib.sha256(data).hexdigest() if data is not None else ""
        if data is not None and digest not in seen:
            seen.add(digest)
            shown = path.relative_to(location.parent).as_posix()
            text = data.decode("utf-8", "replace")
            notice = bool(_NOTICE_NAME.match(path.name))
            files.append(LicenceFile(shown, text, path.stat().st_size, digest, bundled, notice))
    field = str(distribution.metadata["License"]) if "License" in distribution.metadata else ""
    if is_text(field):
        data = field.encode("utf-8", "replace")
        digest = hashlib.sha256(data).hexdigest()
        shown = f"{location.name}/METADATA (field License)"
        files.append(LicenceFile(shown, field[:TEXT_MAX_BYTES], len(data), digest, bundled=False, notice=False))
    return files


def _in_metadata(distribution: Distribution, location: Path) -> Iterator[tuple[Path, bool]]:
    for name in distribution.metadata.get_all("License-File") or ():
        # PEP 639 keeps them in licenses/; before it, setuptools put them beside METADATA by base name.
        for path in (location / "licenses" / name, location / name, location / PurePosixPath(name).name):
            if path.is_file() and not _NO_LICENCE_NAME.match(path.name):
                yield path, _is_bundled(PurePosixPath(name).parts[:-1])
                break
    for folder, _, names in os.walk(location):
        below = Path(folder).relative_to(location).parts
        for name in names:
            if _may_be_licence(name):
                yield Path(folder, name), _is_bundled(below[1:] if below[:1] == ("licenses",) else below)


def _is_bundled(folders: tuple[str, ...]) -> bool:
    """Whether a licence file this deep is that of a part brought along; REUSE's ``LICENSES/`` is not."""
    return bool(folders) and folders[0].lower() not in ("license", "licenses", "licence", "licences")


def _in_packages(distribution: Distribution, location: Path) -> Iterator[tuple[Path, bool]]:
    for path in distribution.files or ():
        if _may_be_licence(path.name) and len(path.parts) <= 3 and ".." not in path.parts:
            yield location.parent / path, bool(_BUNDLES & set(path.parts))


def _may_be_licence(name: str) -> bool:
    named = _LICENCE_NAME.match(name) or _NOTICE_NAME.match(name)
    return named is not None and PurePosixPath(name).suffix.lower() not in _NO_TEXT


def _bytes(path: Path, library: Path) -> bytes | None:
    """The file's first bytes; ``None`` if it is missing or leads out of ``library``, through a link or ``..``."""
    try:
        if not path.resolve().is_relative_to(library.resolve()) or not path.is_file():
            return None
        with path.open("rb") as stream:
            return stream.read(TEXT_MAX_BYTES)
    except OSError:
        return None


def extent(distribution: Distribution, location: Path) -> Extent:
    """Size, files and times. Sizes are the files' own; without a record, those of the metadata folder."""
    files: Sequence[PackagePath | Path] = distribution.files or ()
    recorded = bool(files)
    if not recorded and location.is_dir():
        files = [path for path in location.rglob("*") if path.is_file()]
    size = count = 0
    newest = installed_at = 0.0
    for file in files:
        try:
            stat = Path(location.parent, file).stat()
        except OSError:
            continue  # recorded and gone, such as compiled files
        count, size = count + 1, size + stat.st_size
        if location.name in file.parts:
            installed_at = max(installed_at, stat.st_mtime)
        elif file.suffix != ".pyc":
            newest = max(newest, stat.st_mtime)
    return Extent(size, count, recorded, _moment(installed_at), _moment(newest))


def _moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(int(seconds), UTC) if seconds else None
