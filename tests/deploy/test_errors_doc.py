"""`docs/errors.md` says what the code says."""

from __future__ import annotations

import re

from deploy import errors_doc


def test_the_page_is_up_to_date() -> None:
    assert errors_doc.PAGE.read_text() == errors_doc.render(), "run `make docs`"


def test_every_error_says_what_it_means_and_what_to_do() -> None:
    for section in errors_doc.render().split("\n## ")[1:]:
        slug = section.partition("\n")[0]
        assert slug == slug.lower().replace("_", "-").replace(" ", "-"), slug
        assert re.search(r"(?<!-)\bNone\b", section) is None, slug
        assert section.count("**What to do:**") >= 1, slug
