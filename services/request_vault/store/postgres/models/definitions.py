"""The tables of each read model. A change of what one holds needs a new version: older ones are then built
anew beside themselves.

Calls that were deleted are in none of the indices that a search walks; each of those gives calls in the
order of places, and those over a text that may be long hold how it begins. `tag` and `body` are the tags of
calls and the bodies that calls name, each by its place. class and day: the leaf of the record.
"""

from __future__ import annotations

VERSIONS = {"calls": 1, "events": 1}

TABLES = {"calls": ("call", "tag", "body"), "events": ("event",)}
"""Without their generation."""

PROTECTED = "(c.starred = 1 OR (c.share IS NOT NULL AND coalesce(c.share_until_us > {now_us}, true)))"
"""Of a row of calls: retention passes it over, until its share has ended. now_us: a number, or what stands
for one."""

_MARKED = "(bucket, place) WHERE deleted_us IS NULL AND"

# {g} is the generation.
_STATEMENTS = {
    "calls": f"""
CREATE TABLE call_{{g}} (
    place          bigint PRIMARY KEY,
    class          smallint NOT NULL,
    day            integer NOT NULL,
    id             text COLLATE "C" NOT NULL,
    bucket         text COLLATE "C" NOT NULL,
    started_us     bigint NOT NULL,
    method         text COLLATE "C" NOT NULL,
    scheme         text COLLATE "C" NOT NULL,
    host           text COLLATE "C" NOT NULL,
    path           text COLLATE "C" NOT NULL,
    template       text COLLATE "C" NOT NULL,
    query          text COLLATE "C" NOT NULL,
    status         bigint,
    duration_us    bigint NOT NULL,
    request_bytes  bigint NOT NULL,
    response_bytes bigint NOT NULL,
    content_type   text COLLATE "C",
    error          text COLLATE "C",
    origin         text COLLATE "C" NOT NULL,
    starred        smallint NOT NULL DEFAULT 0,
    share          text COLLATE "C",
    share_until_us bigint,
    note           text COLLATE "C" NOT NULL DEFAULT '',
    note_words     text COLLATE "C" NOT NULL DEFAULT '',
    tags           text[] COLLATE "C" NOT NULL DEFAULT '{{{{}}}}',
    deleted_us     bigint
);
CREATE INDEX call_{{g}}_id ON call_{{g}} (id, place);
CREATE INDEX call_{{g}}_newest ON call_{{g}} (bucket, place, started_us) WHERE deleted_us IS NULL;
CREATE INDEX call_{{g}}_method ON call_{{g}} (bucket, left(lower(method), 64), place)
    WHERE deleted_us IS NULL;
CREATE INDEX call_{{g}}_host ON call_{{g}} (bucket, left(host, 200), place) WHERE deleted_us IS NULL;
CREATE INDEX call_{{g}}_template ON call_{{g}} (bucket, left(template, 200), place) WHERE deleted_us IS NULL;
CREATE INDEX call_{{g}}_status ON call_{{g}} (bucket, (status / 100), place, status) WHERE deleted_us IS NULL;
CREATE INDEX call_{{g}}_error ON call_{{g}} {_MARKED} error IS NOT NULL;
CREATE INDEX call_{{g}}_starred ON call_{{g}} {_MARKED} starred = 1;
CREATE INDEX call_{{g}}_shared ON call_{{g}} {_MARKED} share IS NOT NULL;
CREATE INDEX call_{{g}}_share ON call_{{g}} (left(share, 200)) WHERE share IS NOT NULL;
CREATE INDEX call_{{g}}_protected ON call_{{g}} (class, day) WHERE starred = 1 OR share IS NOT NULL;
CREATE INDEX call_{{g}}_deleted ON call_{{g}} (deleted_us) WHERE deleted_us IS NOT NULL;
CREATE TABLE tag_{{g}} (
    bucket text COLLATE "C" NOT NULL,
    tag    text COLLATE "C" NOT NULL,
    place  bigint NOT NULL
);
CREATE INDEX tag_{{g}}_tag ON tag_{{g}} (bucket, left(tag, 200), place);
CREATE INDEX tag_{{g}}_place ON tag_{{g}} (place);
CREATE TABLE body_{{g}} (
    bucket text COLLATE "C" NOT NULL,
    sha256 text COLLATE "C" NOT NULL,
    place  bigint NOT NULL
);
CREATE INDEX body_{{g}}_sha256 ON body_{{g}} (left(sha256, 64), bucket);
CREATE INDEX body_{{g}}_place ON body_{{g}} (place)
""",
    "events": """
CREATE TABLE event_{g} (
    place       bigint PRIMARY KEY,
    class       smallint NOT NULL,
    day         integer NOT NULL,
    type        integer NOT NULL,
    key         text COLLATE "C" NOT NULL,
    subject     text COLLATE "C",
    correlation text COLLATE "C"
);
CREATE INDEX event_{g}_type ON event_{g} (type, place);
CREATE INDEX event_{g}_key ON event_{g} (key, place);
CREATE INDEX event_{g}_subject ON event_{g} (left(subject, 200), place) WHERE subject IS NOT NULL;
CREATE INDEX event_{g}_correlation ON event_{g} (correlation, place) WHERE correlation IS NOT NULL
""",
}


def statements(name: str, generation: int) -> list[str]:
    """What creates the tables of one generation."""
    return _STATEMENTS[name].format(g=generation).strip().split(";\n")
