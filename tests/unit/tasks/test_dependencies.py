"""dependencies.list, inspect and report over distributions made for the purpose."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import settings
from engine.errors import Permanent
from engine.plan.tasktype import Effects
from tasks import dependencies
from tasks.licences.markdown import cell, size

from .test_licences import BSD_3, ISC, MIT


def install(library: Path, name: str, *, metadata: str = "", version: str = "1.0", **files: str) -> Path:
    """A distribution with a record of its files; ``licenses__X`` stands for ``licenses/X``."""
    folder = library / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    head = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n"
    contents = {f"{folder.name}/METADATA": head + metadata, f"{name}/__init__.py": "x = 1\n"}
    contents |= {f"{folder.name}/{path.replace('__', '/')}": text for path, text in files.items()}
    for path, text in contents.items():
        (library / path).parent.mkdir(parents=True, exist_ok=True)
        (library / path).write_text(text, "utf-8")
    rows = [f"{path},," for path in (*contents, f"{folder.name}/RECORD")]
    (folder / "RECORD").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def library(root):
    folder = root / "site-packages"
    install(folder, "Zeta", metadata="License-Expression: MIT\nLicense-File: LICENSE\n", licenses__LICENSE=MIT)
    install(folder, "alpha", metadata="Classifier: License :: OSI Approved :: BSD License\n", LICENSE=BSD_3)
    install(folder, "beta", metadata="License: GPLv3\nHome-page: https://b.example/(x)|y\n", licenses__COPYING=ISC)
    install(folder, "gamma", metadata="Summary: none\nProject-URL: Source, https://g.example\n")
    return folder


@pytest.fixture
def listing(run, library):
    return run(dependencies.list_distributions, site_packages=[str(library)])


@pytest.fixture
def facts(run, listing):
    inspected = [run(dependencies.inspect, distribution=item) for item in listing["distributions"]]
    return {item["name"]: item for item in inspected}


def test_the_list_is_in_order_of_name_whatever_the_case(listing):
    assert [item["name"] for item in listing["distributions"]] == ["alpha", "beta", "gamma", "Zeta"]
    assert listing["count"] == 4


def test_of_two_of_one_name_the_first_on_the_path_is_taken(run, library, root):
    install(root / "second", "ALPHA", version="9.0")
    paths = [str(library), str(root / "second")]
    listed = run(dependencies.list_distributions, site_packages=paths)["distributions"]
    assert [item["version"] for item in listed if item["name"].lower() == "alpha"] == ["1.0"]


def test_by_default_the_running_interpreters_own_are_listed(run):
    names = {item["name"] for item in run(dependencies.list_distributions)["distributions"]}
    assert {"pytest", "pydantic", "celery"} <= names


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["/etc"], "file_roots"),
        (["missing"], "not a folder"),
        (["."], "no distribution is installed"),
        ("x", "'site_packages"),
    ],
)
def test_a_bad_folder_is_refused_and_says_why(run, library, paths, message):
    with pytest.raises(Permanent, match=message):
        run(dependencies.list_distributions, site_packages=paths)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("/etc/x.dist-info", "file_roots"),
        ("site-packages/alpha", "not the metadata"),
        ("no-1.dist-info", "removed meanwhile"),
    ],
)
def test_what_is_no_distribution_is_not_inspected(run, library, location, message):
    with pytest.raises(Permanent, match=message):
        run(dependencies.inspect, distribution={"name": "x", "version": "1", "location": location})


def test_an_inspection_names_licence_evidence_and_extent(facts):
    zeta = facts["Zeta"]
    assert (zeta["licence"], zeta["category"], zeta["agrees"], zeta["findings"]) == ("MIT", "permissive", True, [])
    (text,) = zeta["texts"]
    assert text["path"] == "Zeta-1.0.dist-info/licenses/LICENSE" and text["licences"] == ["MIT"] and text["quoted"]
    assert zeta["copyrights"] == ["Copyright (c) 2019 Ada Example"]
    assert zeta["file_count"] == 4 and zeta["size_bytes"] > len(MIT) and zeta["recorded"]
    assert (zeta["not_built_before"], zeta["age_evidence"]) == (2024, "metadata format 2.4")
    assert facts["gamma"]["home_page"] == "https://g.example"


def test_a_conflict_and_a_missing_licence_are_found(facts):
    assert [finding["code"] for finding in facts["beta"]["findings"]] == ["conflict", "strong-copyleft"]
    assert [finding["code"] for finding in facts["gamma"]["findings"]] == ["no-licence"]


def test_a_licence_file_that_leads_out_of_the_library_is_not_read(run, library, root, tmp_path):
    (tmp_path / "secret").write_text(MIT)
    folder = install(library, "sly", metadata="License-File: ../../../secret\n")
    (folder / "LICENSE").symlink_to(tmp_path / "secret")
    item = {"name": "sly", "version": "1.0", "location": str(folder)}
    assert run(dependencies.inspect, distribution=item)["texts"] == []


def test_licences_of_parts_it_brings_along_are_told_apart(run, library):
    folder = install(
        library, "whole", metadata="License-Expression: MIT\n", licenses__LICENSE=MIT, licenses__part__LICENSE=ISC
    )
    found = run(dependencies.inspect, distribution={"name": "whole", "version": "1.0", "location": str(folder)})
    assert [(text["licences"], text["bundled"]) for text in found["texts"]] == [(["MIT"], False), (["ISC"], True)]
    assert found["findings"] == []


def test_metadata_that_is_no_text_fails_its_inspection_and_not_the_list(run, library):
    folder = install(library, "latin", version="2.0")
    (folder / "METADATA").write_bytes(b"Metadata-Version: 2.1\nName: latin\nVersion: 2.0\nAuthor: Andr\xe9\n")
    listed = run(dependencies.list_distributions, site_packages=[str(library)])["distributions"]
    (item,) = (item for item in listed if item["name"] == "latin")
    assert item["version"] == "2.0"
    with pytest.raises(Permanent, match="no UTF-8"):
        run(dependencies.inspect, distribution=item)


def test_an_egg_info_without_a_record_is_inspected_too(run, library):
    folder = library / "old.egg-info"
    folder.mkdir()
    (folder / "PKG-INFO").write_text("Metadata-Version: 1.1\nName: old\nVersion: 0.1\nLicense: BSD\n")
    found = run(dependencies.inspect, distribution={"name": "old", "version": "0.1", "location": str(folder)})
    assert (found["licence"], found["recorded"], found["not_built_before"]) == ("one of the BSD family", False, None)


@pytest.fixture
def report(run, listing, facts):
    inspections = [None if item["name"] == "gamma" else facts[item["name"]] for item in listing["distributions"]]
    return run(dependencies.report, listing=listing, inspections=inspections, dated="2026-01-02")


def test_the_report_counts_and_names_what_could_not_be_inspected(report):
    assert report["counts"] == {
        "distributions": 4,
        "inspected": 3,
        "not_inspected": 1,
        "need_attention": 1,
        "high_findings": 2,
        "medium_findings": 0,
        "low_findings": 0,
    }
    assert [item["name"] for item in report["document"]["not_inspected"]] == ["gamma"]
    assert "**Partial.** 1 could not be inspected and are in no figure: gamma 1.0." in report["markdown"]
    assert json.loads(json.dumps(report["document"])) == report["document"]


def test_the_same_evidence_gives_the_same_report(run, listing, facts):
    inspections = [facts[item["name"]] for item in listing["distributions"]]
    first, second = (
        run(dependencies.report, listing=listing, inspections=inspections, dated="2026-01-02") for _ in range(2)
    )
    assert first == second


def test_every_table_row_has_as_many_cells_as_its_header(report):
    tables = re.findall(r"(?:^\|.*\n)+", report["markdown"], re.MULTILINE)
    assert len(tables) >= 5
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1, table


def test_a_hostile_name_cannot_break_the_layout_or_smuggle_a_link(run, listing, facts):
    hostile = facts["alpha"] | {
        "name": "a|b\n# c <script>",
        "copyrights": ["[x](javascript:alert(1)) `|`"],
        "home_page": "https://x/)|[",
    }
    small = listing | {"distributions": listing["distributions"][:1], "count": 1}
    markdown = run(dependencies.report, listing=small, inspections=[hostile], dated="2026-01-02")["markdown"]
    assert "\n# c" not in markdown and "<script" not in markdown
    assert "](javascript" not in markdown.replace("\\]", "") and "https://x/)" not in markdown


def test_a_report_needs_an_inspection_for_each_listed(run, listing):
    with pytest.raises(Permanent, match="0 inspections do not fit 4"):
        run(dependencies.report, listing=listing, inspections=[])


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", r"a\|b"),
        ("a_b _c_", r"a_b \_c\_"),
        ("<b> & *", r"&lt;b&gt; &amp; \*"),
        ("a\n b", "a b"),
        ("\\|", r"\\\|"),
    ],
)
def test_a_cell_is_plain_text_in_one_line(text, escaped):
    assert cell(text) == escaped


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (341_000_000, "341 MB"), (2e9, "2.0 GB")]
)
def test_sizes_read_well(count, shown):
    assert size(int(count)) == shown


def test_all_three_only_read():
    tasks = (dependencies.list_distributions, dependencies.inspect, dependencies.report)
    assert {task.task_type.effects for task in tasks} == {Effects.NONE}


def test_the_declared_and_the_recognised_licences_of_what_is_installed_here_agree(run, context, capsys):
    given = replace(context, settings=settings.load())
    listed = run(dependencies.list_distributions, given=given)["distributions"]
    inspected = [run(dependencies.inspect, given=given, distribution=item) for item in listed]
    compared = [facts for facts in inspected if facts["agrees"] is not None]
    differ = [f"{facts['name']}: {facts['licence']}" for facts in compared if not facts["agrees"]]
    share = 1 - len(differ) / len(compared)
    with capsys.disabled():
        print(
            f"\nlicence texts agree with declarations: {share:.1%} of {len(compared)}; not: {', '.join(differ) or '-'}"
        )
    assert len(compared) >= 40
    assert share > 0.95
