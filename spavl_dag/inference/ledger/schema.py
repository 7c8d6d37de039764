"""The ledger's tables, the triggers that guard them, and the numbers that tell which version wrote it."""

from __future__ import annotations

from spavl_dag.states import CallState

LEDGER_SCHEMA = 2
"""1 had no guard against REPLACE INTO; it is read as it is, and gets the guards when it is opened for writing."""
APPLICATION_ID = 0x5350_564C  # "SPVL": tells a ledger from any other SQLite file
PAGE_BYTES = 16_384  # a row has about 1 kB: fewer, larger pages waste less and append faster than 4 kB ones

CODES = {
    CallState.OK: 0,
    CallState.REFUSED: 1,
    CallState.UNPARSABLE: 2,
    CallState.PERMANENT_ERROR: 3,
    CallState.TRANSIENT_ERROR: 4,
}
STATES = {code: state for state, code in CODES.items()}
# Code → 1 for states that are final, or that have a text, as bytes.translate takes it.
IS_FINAL = bytes(code in STATES and STATES[code].is_final for code in range(256))
HAS_TEXT = bytes(code in STATES and STATES[code].has_text for code in range(256))

# For each table the columns that tell its rows apart, each by itself.
_TABLES = {
    "profiles": ("id", "profile"),
    "contexts": ("id",),
    "batches": ("id",),
    "calls": ("id",),
    "tallies": ("rowid",),
    "states": ("code", "state"),
}

GUARDS = "".join(
    f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
    f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {' OR '.join(f'{column} = NEW.{column}' for column in unique)}) "
    f"BEGIN SELECT RAISE(ROLLBACK, 'the ledger is append-only'); END;\n"
    for table, unique in _TABLES.items()
)
"""REPLACE deletes the row in the way without firing DELETE triggers.

ROLLBACK, as the INSERT of calls has it: ABORT would make SQLite ready to undo each row by itself, a third slower.
"""

SCHEMA = (
    f"""
CREATE TABLE profiles (id INTEGER PRIMARY KEY, profile TEXT NOT NULL UNIQUE);
CREATE TABLE contexts (
    id INTEGER PRIMARY KEY, artifact TEXT NOT NULL, partition TEXT, role TEXT NOT NULL,
    profile INTEGER NOT NULL REFERENCES profiles (id)
);
CREATE TABLE batches (
    id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, created_at REAL NOT NULL,
    first_call INTEGER NOT NULL, calls INTEGER NOT NULL, keys BLOB NOT NULL, states BLOB NOT NULL
);
CREATE TABLE calls (
    id INTEGER PRIMARY KEY, batch INTEGER NOT NULL REFERENCES batches (id),
    context INTEGER NOT NULL REFERENCES contexts (id), key BLOB NOT NULL, state INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cost_usd REAL NOT NULL,
    finish_reason TEXT NOT NULL, error TEXT, text TEXT NOT NULL, sample_index INTEGER NOT NULL,
    seed INTEGER NOT NULL, image_sha256 TEXT, prompt TEXT NOT NULL
);
CREATE TABLE tallies (
    batch INTEGER NOT NULL REFERENCES batches (id), context INTEGER NOT NULL REFERENCES contexts (id),
    state INTEGER NOT NULL, calls INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, cost_usd REAL NOT NULL
);
CREATE TABLE states (code INTEGER PRIMARY KEY, state TEXT NOT NULL UNIQUE);
INSERT INTO states VALUES {", ".join(f"({code}, '{state}')" for state, code in CODES.items())};
CREATE VIEW calls_readable AS
    SELECT calls.id, lower(hex(key)) AS key, states.state, artifact, partition, role, text, error, prompt,
        finish_reason, prompt_tokens, completion_tokens, cost_usd,
        datetime(created_at, 'unixepoch') AS created_at, run_id, image_sha256, sample_index, seed,
        profiles.profile
    FROM calls
        JOIN states ON states.code = calls.state
        JOIN batches ON batches.id = calls.batch
        JOIN contexts ON contexts.id = calls.context
        JOIN profiles ON profiles.id = contexts.profile;
"""
    + "".join(
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;\n"
        for table in _TABLES
        for verb in ("UPDATE", "DELETE")
    )
    + GUARDS
)
