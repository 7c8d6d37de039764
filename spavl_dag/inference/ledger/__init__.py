"""The ledger: every model call that was ever made, in an append-only SQLite file.

An artifact is a projection of the ledger. DVC may delete an artifact at any time; the ledger is what was
paid for. It lies outside the DVC outs (`.spavl/ledger.db`), has mode 0600 since it holds harmful text,
and holds no API keys.

Key
    16 bytes from `spavl_dag.inference.keys`. Not unique: a call that failed for the moment is made again, and
    two processes may race to make the same one. Every attempt is a row. On reading, the first row with a
    text of a key wins (the lowest id), so what was projected once never changes; without one, the last
    error is shown. A permanent error is final as well, but a text that a retry brings replaces it.

Layout
    calls           One row per attempt. Result columns come first and the prompt last: projections skip
                    it. The prompt is the user turn's text, or, for a conversation of another shape, JSON of all
                    its turns.
    batches         One row per append: its run and time, the id of its first row, and the keys and states
                    of all its rows as two blobs. A process reads the blobs (17 bytes a row) into a
                    `KeyIndex` when it first looks for a key, and later only those of new batches. An
                    SQLite index over random keys would rewrite a page per row: slower to append to, and
                    slower to read from a cold disk.
    tallies         Rows, tokens and cost per batch, context and state, so that a summary reads no rows.
    contexts        (artifact, partition, role, profile), which many rows share.
    profiles        JSON of engine, model, revision, system turn and decoding, stored once each.
    calls_readable  A view for people with the sqlite3 shell.
    Texts are TEXT. Those that SQLite's own functions and tools would cut or refuse, with NULs or lone
    surrogates (some decoders emit them), are a BLOB of UTF-8 with "surrogatepass", and come back as the
    same str. Triggers refuse UPDATE, DELETE and the replacing of a row (REPLACE INTO) on every table.

Order of writes, and what a crash leaves
    `append` writes contexts, batch, rows and tallies in one IMMEDIATE transaction, in WAL mode with
    synchronous=FULL: when it returns, the batch is on the disk. Before that, a killed process or a power
    cut leaves nothing of it: the next opening drops the unfinished end of the WAL. A new ledger is built
    under a temporary name, checked, and gets its own only when it is complete; so an empty or short file of that
    name is damage, and refused as such. Calls that were made but not yet appended are lost and made
    again: keep batches small where calls cost money.

A WAL that was cut or damaged
    SQLite drops what follows the first bad page of a WAL, committed calls among it, without a word. So a WAL is
    read before SQLite opens it and compared with the shared memory file beside it, which notes how much was
    committed (`wal`). Not noticed: a WAL that was cut exactly behind a commit and lost its -shm file too.

Not covered
    Disks that lie about flushing. Network file systems: WAL needs shared memory, keep the ledger on a
    local disk. Copies of the .db file alone while it is open: use `sqlite3 ledger.db ".backup copy.db"`.
    Somebody set on rewriting it: the triggers are against accidents. Hundreds of millions of rows: the
    index is in memory, 24 bytes a row. A `Ledger` belongs to the thread that opened it and doesn't
    survive a fork; others open their own.
"""

from spavl_dag.inference.ledger.errors import LedgerError
from spavl_dag.inference.ledger.ledger import Ledger
from spavl_dag.inference.ledger.merging import Merged
from spavl_dag.inference.ledger.rows import CallRow, SummaryRow
from spavl_dag.inference.ledger.schema import APPLICATION_ID, LEDGER_SCHEMA

__all__ = ["APPLICATION_ID", "LEDGER_SCHEMA", "CallRow", "Ledger", "LedgerError", "Merged", "SummaryRow"]
