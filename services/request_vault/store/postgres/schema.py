"""The tables: how they are created, what is checked before a vault is opened, and the leaves of `record`.

`record` is the log. It lies in leaves by class and day (`places`), so that dropping one gives its disk
back; what must be unique across leaves (identities, versions of streams) is in tables that are not divided.
Everything but the read models (`models`) is the log, which is never rebuilt. `head.changes` grows whenever
something has changed that whoever adds to the log must know: which models are written, and the floor. Texts
are compared by bytes (COLLATE "C"). Names that may be longer than an index entry can be (2704 bytes) are
indexed by how they begin.
"""

from __future__ import annotations

from services.request_vault.domain import chain
from services.request_vault.domain.links import checksum_of_mark
from services.request_vault.store.errors import VaultForeign, VaultServerUnfit, VaultVersion
from services.request_vault.store.postgres import models, text_tables
from services.request_vault.store.postgres.connections import Address, Connection, quoted
from services.request_vault.store.postgres.places import (
    AGES,
    DECIDED,
    FOREVER,
    KEPT,
    Leaf,
    days_of,
    is_spanned,
)

FORMAT = 1
OLDEST_SERVER = 14
CHECKPOINTS = ("published", "floor")
WORDS_VERSION = 1
"""Of what the text index holds; that of another version is built anew."""

_TABLES = """
CREATE TABLE vault (
    format     integer NOT NULL,
    partitions integer NOT NULL
);
CREATE TABLE head (
    partition integer PRIMARY KEY,
    number    bigint NOT NULL,
    running   bytea NOT NULL,
    chain     bytea NOT NULL,
    last_us   bigint NOT NULL,
    changes   bigint NOT NULL
) WITH (fillfactor = 10);
CREATE TABLE category (
    name   text COLLATE "C" PRIMARY KEY,
    number bigint NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE checkpoint (
    name     text COLLATE "C" PRIMARY KEY,
    number   bigint NOT NULL,
    epoch    bigint NOT NULL,
    checksum bigint NOT NULL
) WITH (fillfactor = 10);
CREATE TABLE record (
    class       smallint NOT NULL,
    day         integer NOT NULL,
    place       bigint NOT NULL,
    stream      text COLLATE "C" NOT NULL,
    version     bigint NOT NULL,
    category    text COLLATE "C",
    prev        bigint,
    key         text COLLATE "C" NOT NULL,
    time_us     bigint NOT NULL,
    recorded_us bigint NOT NULL,
    checksum    bigint NOT NULL,
    salt        bytea NOT NULL,
    digest      bytea NOT NULL,
    event       bytea NOT NULL
) PARTITION BY LIST (class);
CREATE INDEX record_place ON record (place);
CREATE INDEX record_stream ON record (left(stream, 200), version);
CREATE TABLE seen (
    id       text COLLATE "C" NOT NULL,
    source   text COLLATE "C" NOT NULL,
    place    bigint NOT NULL,
    content  bytea NOT NULL,
    gone_us  bigint,
    time_us  bigint,
    checksum bigint,
    PRIMARY KEY (id, source)
);
CREATE INDEX seen_gone ON seen (gone_us) WHERE gone_us IS NOT NULL;
CREATE INDEX seen_gone_place ON seen (place) WHERE gone_us IS NOT NULL;
CREATE TABLE stream (
    name    text COLLATE "C" PRIMARY KEY,
    decided boolean NOT NULL,
    version bigint NOT NULL
) WITH (fillfactor = 90);
CREATE TABLE seal (
    place       bigint PRIMARY KEY,
    recorded_us bigint NOT NULL,
    running     bytea NOT NULL,
    chain       bytea NOT NULL
);
CREATE TABLE anchor (
    place    bigint PRIMARY KEY,
    last     bigint NOT NULL,
    digests  bytea NOT NULL,
    gone_us  bigint NOT NULL,
    checksum bigint NOT NULL
);
CREATE TABLE tombstone (
    place    bigint PRIMARY KEY,
    stream   text COLLATE "C" NOT NULL,
    version  bigint NOT NULL,
    category text COLLATE "C",
    prev     bigint,
    digest   bytea NOT NULL,
    gone_us  bigint NOT NULL,
    by       text NOT NULL,
    why      text NOT NULL,
    checksum bigint NOT NULL
);
CREATE INDEX tombstone_stream ON tombstone (left(stream, 200), version);
CREATE INDEX tombstone_category ON tombstone (category, place) WHERE category IS NOT NULL;
CREATE TABLE usage (
    key     text COLLATE "C" PRIMARY KEY,
    records bigint NOT NULL,
    calls   bigint NOT NULL,
    bytes   bigint NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE purge (
    ordered bigint NOT NULL,
    done    bigint NOT NULL
) WITH (fillfactor = 10);
CREATE TABLE text_table (
    answering integer NOT NULL,
    filling   integer,
    copied    bigint NOT NULL
);
CREATE TABLE text_bucket (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name   text COLLATE "C" NOT NULL UNIQUE
);
CREATE TABLE text_progress (
    partition integer PRIMARY KEY,
    reached   bigint NOT NULL,
    renewed   bigint NOT NULL,
    renew_to  bigint NOT NULL,
    version   integer NOT NULL
);
CREATE TABLE text_late (
    place    bigint PRIMARY KEY,
    bucket   text COLLATE "C" NOT NULL,
    missing  text[] NOT NULL,
    until_us bigint NOT NULL
);
CREATE INDEX text_late_until ON text_late (until_us);
CREATE TABLE model (
    name       text COLLATE "C" PRIMARY KEY,
    version    integer NOT NULL,
    generation integer NOT NULL
);
CREATE TABLE build (
    name       text COLLATE "C" PRIMARY KEY,
    version    integer NOT NULL,
    generation integer NOT NULL,
    tops       bigint[] NOT NULL,
    done       bigint[] NOT NULL,
    decided    bigint NOT NULL
);
CREATE TABLE type (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name   text COLLATE "C" NOT NULL UNIQUE
);
"""

_FOREIGN = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind IN ('r', 'p')
AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
ORDER BY c.relname LIMIT 1
"""
_LEAVES = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = ANY ($1::regclass[]) AND NOT i.inhdetachpending
"""


async def prepare(connection: Connection, address: Address, partitions: int) -> Address:
    """The address with its schema, whose tables are there then. Raises VaultServerUnfit, VaultForeign and
    VaultVersion before anything is changed. Several instances may begin at once."""
    here = await _in_schema(connection, address)
    schema = quoted(here.schema or "")
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", here.number_of("schema"))
        if await _holds_vault(connection, here):
            return here
        other = await connection.fetchval(_FOREIGN, here.schema)
        if other is not None:
            raise VaultForeign(f"{address}: schema {here.schema} holds a table {other!r}, and no vault")
        if await connection.fetchval("SELECT to_regnamespace($1)", schema) is None:
            await connection.execute(f"CREATE SCHEMA {schema}")
        await connection.execute(f"SET LOCAL search_path = {schema}")
        await _create(connection, partitions)
    return here


async def found(connection: Connection, address: Address) -> Address | None:
    """The address with its schema, None when it holds no vault. Raises VaultServerUnfit, VaultVersion."""
    here = await _in_schema(connection, address)
    return here if await _holds_vault(connection, here) else None


async def leaves(connection: Connection) -> set[Leaf]:
    """Those that there are."""
    parents = [f"record_{_class_name(class_)}" for class_ in (FOREVER, *AGES)]
    names = [row[0] for row in await connection.fetch(_LEAVES, parents)]
    found = {(DECIDED, 0), (KEPT, 0)}
    for name in names:
        _, of_class, first_day = name.split("_")
        found.add((FOREVER if of_class == "forever" else int(of_class), int(first_day)))
    return found


async def create_leaf(connection: Connection, address: Address, leaf: Leaf) -> None:
    """Make a leaf beside the others, then attach it: nobody who reads or writes is kept waiting. Outside of a
    transaction."""
    parent = f"record_{_class_name(leaf[0])}"
    name = leaf_table(leaf)
    days = days_of(leaf)
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", address.number_of("schema"))
        if await connection.fetchval("SELECT to_regclass($1)", name) is None:
            await connection.execute(
                f"CREATE TABLE {name} (LIKE {parent} INCLUDING ALL);"
                f"ALTER TABLE {parent} ATTACH PARTITION {name} "
                f"FOR VALUES FROM ({days.start}) TO ({days.stop})"
            )


def leaf_table(leaf: Leaf) -> str:
    name = f"record_{_class_name(leaf[0])}"
    return f"{name}_{leaf[1]}" if is_spanned(leaf[0]) else name


def _class_name(class_: int) -> str:
    return {DECIDED: "decided", KEPT: "kept", FOREVER: "forever"}.get(class_, str(class_))


async def _in_schema(connection: Connection, address: Address) -> Address:
    """Raises VaultServerUnfit."""
    version = connection.get_server_version()
    if version.major < OLDEST_SERVER:
        raise VaultServerUnfit(
            f"{address}: PostgreSQL {version.major}; a vault needs {OLDEST_SERVER} or newer"
        )
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise VaultServerUnfit(f"{address}: the database's encoding is {encoding}, not UTF8")
    if address.schema is not None:
        return address
    return address.in_schema(await connection.fetchval("SELECT coalesce(current_schema(), 'public')"))


async def _holds_vault(connection: Connection, address: Address) -> bool:
    """Raises VaultVersion."""
    table = f"{quoted(address.schema or '')}.vault"
    if await connection.fetchval("SELECT to_regclass($1)", table) is None:
        return False
    format_ = await connection.fetchval(f"SELECT max(format) FROM {table}")
    if format_ != FORMAT:
        raise VaultVersion(
            f"the vault {address} has format {format_}; this version of Trunkline reads format {FORMAT}"
        )
    return True


async def _create(connection: Connection, partitions: int) -> None:
    await connection.execute(_TABLES)
    for class_ in (DECIDED, KEPT, FOREVER, *AGES):
        below = " PARTITION BY RANGE (day)" if is_spanned(class_) else ""
        await connection.execute(
            f"CREATE TABLE record_{_class_name(class_)} PARTITION OF record FOR VALUES IN ({class_}){below}"
        )
    await connection.execute(
        "CREATE INDEX record_category ON record_decided (category, place) WHERE category IS NOT NULL"
    )
    await connection.executemany(
        "INSERT INTO head VALUES ($1, 0, $2, $2, 0, 0)", [(n, chain.START) for n in range(partitions + 1)]
    )
    await connection.executemany(
        "INSERT INTO text_progress VALUES ($1, 0, 0, 0, $2)",
        [(n, WORDS_VERSION) for n in range(1, partitions + 1)],
    )
    await models.create_all(connection)
    await text_tables.create_first(connection)
    await connection.execute("INSERT INTO purge VALUES (0, 0)")
    for name in CHECKPOINTS:
        await connection.execute(
            "INSERT INTO checkpoint VALUES ($1, 0, 0, $2)", name, checksum_of_mark(name, 0)
        )
    await connection.execute("INSERT INTO vault VALUES ($1, $2)", FORMAT, partitions)
