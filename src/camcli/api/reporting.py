"""`camcli.report`: the page to look through all answers, from Python."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from camcli.api.answer import Answer
from camcli.api.guarding import in_python
from camcli.errors import RequestError
from camcli.records import Explained, Failed, Row
from camcli.sinks import Page, as_row, check_page, open_page, schema
from camcli.specs import PageSpec

# What a page can be made of.
Told = Answer | Explained | Failed | Mapping[str, Any]


def report(answers: Told | Iterable[Told], file: str | os.PathLike[str], *, embed_mb: float | None = None) -> None:
    """Write the page of answers, as `camcli report` does: one HTML file for every browser, whole or not at all.

    answers: any number of what `explain`, `explain_many` and `Engine` give, refusals among them, or of rows, whose
        pictures are read again. They are taken one at a time, and memory does not grow with them.
    file: its name, a path or URI that ends in .html. embed_mb: a larger page has a folder beside it; None: 40 MB, and
        5,000 pictures.

    Raises: RequestError: no page can be there, or what is given is no answer; SetupError: it can't be written.
    """
    with in_python():
        name = os.fspath(file)
        check_page(name, "choose another file")
        with open_page(PageSpec(name, embed_mb)) as page:
            count = 0
            for answer in [answers] if isinstance(answers, (Answer, Explained, Failed, Mapping)) else answers:
                _add(page, answer)
                count += 1
            if not count:
                raise RequestError("no answers are given")


def _add(page: Page, answer: Told) -> None:
    if isinstance(answer, Mapping):
        page.add(_checked(dict(answer)))
        return
    result = answer.result if isinstance(answer, Answer) else answer
    if not isinstance(result, (Explained, Failed)):
        raise RequestError(f"a {type(answer).__name__} is no answer: give what explain or explain_many gives, or rows")
    page.draw(result)
    page.add(as_row(result))


def _checked(row: Row) -> Row:
    if (lacking := schema.wrong(row, whole=True)) is not None:
        raise RequestError(f"that is no row of this camcli{f' (its {lacking})' if lacking else ''}")
    return row
