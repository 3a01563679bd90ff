"""The tables of each read model. A change of what one holds needs a new version: older ones are then built
anew beside themselves.

Calls that were deleted are in none of the indices that a search walks, and what the most frequent filters ask
for is in each, so that a walk leaves out others without their rows. `tag` and `body` are the tags of calls
and the bodies that calls name, each by its place.
"""

from __future__ import annotations

VERSIONS = {"calls": 1, "events": 1}

TABLES = {"calls": ("call", "tag", "body"), "events": ("event",)}
"""Without their generation."""

PROTECTED = "(starred OR (share IS NOT NULL AND coalesce(share_until_us > :now_us, true)))"
"""Of a row of calls: retention passes it over, until its share has ended."""

# {g} is the generation.
_STATEMENTS = {
    "calls": """
CREATE TABLE call_{g} (
    place          INTEGER PRIMARY KEY,
    id             TEXT NOT NULL,
    bucket         TEXT NOT NULL,
    started_us     INTEGER NOT NULL,
    method         TEXT NOT NULL COLLATE NOCASE,
    scheme         TEXT NOT NULL,
    host           TEXT NOT NULL,
    path           TEXT NOT NULL,
    template       TEXT NOT NULL DEFAULT '',
    query          TEXT NOT NULL,
    status         INTEGER,
    duration_us    INTEGER NOT NULL,
    request_bytes  INTEGER NOT NULL,
    response_bytes INTEGER NOT NULL,
    content_type   TEXT,
    error          TEXT,
    origin         TEXT NOT NULL,
    starred        INTEGER NOT NULL DEFAULT 0,
    share          TEXT,
    share_until_us INTEGER,
    note           TEXT NOT NULL DEFAULT '',
    note_words     TEXT NOT NULL DEFAULT '',
    tags           TEXT NOT NULL DEFAULT '[]',
    deleted_us     INTEGER
);
CREATE INDEX call_{g}_id ON call_{g} (id);
CREATE INDEX call_{g}_newest ON call_{g} (bucket, place, started_us, deleted_us)
    WHERE deleted_us IS NULL;
CREATE INDEX call_{g}_method ON call_{g} (bucket, method, place, status, host, deleted_us)
    WHERE deleted_us IS NULL;
CREATE INDEX call_{g}_host ON call_{g} (bucket, host, place, status, method, deleted_us)
    WHERE deleted_us IS NULL;
CREATE INDEX call_{g}_status ON call_{g} (bucket, status / 100, place, status, method, host, deleted_us)
    WHERE deleted_us IS NULL;
CREATE INDEX call_{g}_error ON call_{g} (bucket, place, error, deleted_us)
    WHERE error IS NOT NULL AND deleted_us IS NULL;
CREATE INDEX call_{g}_starred ON call_{g} (bucket, place, deleted_us)
    WHERE starred = 1 AND deleted_us IS NULL;
CREATE INDEX call_{g}_shared ON call_{g} (bucket, place, deleted_us)
    WHERE share IS NOT NULL AND deleted_us IS NULL;
CREATE INDEX call_{g}_noted ON call_{g} (bucket, place, deleted_us)
    WHERE note <> '' AND deleted_us IS NULL;
CREATE INDEX call_{g}_share ON call_{g} (share) WHERE share IS NOT NULL;
CREATE INDEX call_{g}_protected ON call_{g} (place) WHERE starred OR share IS NOT NULL;
CREATE INDEX call_{g}_deleted ON call_{g} (bucket, deleted_us) WHERE deleted_us IS NOT NULL;
CREATE TABLE tag_{g} (
    bucket TEXT NOT NULL,
    tag    TEXT NOT NULL,
    place  INTEGER NOT NULL,
    PRIMARY KEY (bucket, tag, place)
) WITHOUT ROWID;
CREATE TABLE body_{g} (
    bucket TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    place  INTEGER NOT NULL,
    PRIMARY KEY (bucket, sha256, place)
) WITHOUT ROWID;
CREATE INDEX body_{g}_place ON body_{g} (place)
""",
    "events": """
CREATE TABLE event_{g} (
    place       INTEGER PRIMARY KEY,
    type        INTEGER NOT NULL,
    key         TEXT NOT NULL,
    subject     TEXT,
    correlation TEXT
);
CREATE INDEX event_{g}_type ON event_{g} (type, place);
CREATE INDEX event_{g}_key ON event_{g} (key, place);
CREATE INDEX event_{g}_subject ON event_{g} (subject, place) WHERE subject IS NOT NULL;
CREATE INDEX event_{g}_correlation ON event_{g} (correlation, place) WHERE correlation IS NOT NULL
""",
}


def statements(name: str, generation: int) -> list[str]:
    """What creates the tables of one generation."""
    return _STATEMENTS[name].format(g=generation).strip().split(";\n")
