"""What other programs read of the project says the same as the code: llms.txt, the citation, the container's recipe."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import llms
import yaml
from shell import ROOT

from camcli._version import __version__

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_llms_txt_is_the_codes() -> None:
    assert llms.text() == llms.FILE.read_text(encoding="utf-8"), "type `make texts`"


def test_llms_txt_has_the_form_that_its_readers_expect() -> None:
    """One title, a quote, then sections that are lists; links lead to files."""
    title, quote, _, *sections = llms.text().split("\n\n")
    assert title == "# camcli"
    assert quote.startswith("> ")
    assert [section for section in sections if section.startswith("## ")] == ["## Commands", "## Docs", "## Methods"]
    assert all(line.startswith("- ") for section in sections[1::2] for line in section.splitlines())
    links = re.findall(r"^- \[.+?\]\((.+?)\)", llms.text(), re.MULTILINE)
    assert {"README.md", "docs/report.md", "docs/ci.md", "SECURITY.md"} <= set(links)
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_a_comment_in_a_block_of_code_is_no_heading() -> None:
    assert list(llms._headings("# T\n```\n# no\n```\n## A\ntext # no\n### deeper\n")) == ["T", "A"]


def test_the_citation_is_of_this_version_and_these_authors() -> None:
    citation: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["message"]
    assert citation["title"] == PROJECT["name"]
    assert citation["version"] == __version__
    assert citation["abstract"] == PROJECT["description"]
    assert citation["authors"] == PROJECT["authors"]
    assert citation["keywords"] == PROJECT["keywords"]
    assert citation["license"] in PROJECT["license"].split(" AND ")
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= reference.keys()
