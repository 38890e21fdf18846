-- The index of one custodian. No column holds patient data: content is sealed in packs, what is searched for is
-- a keyed hash, ids are random unless a client chose its own (update as create).

-- What must not change while the data lives: the custodian's and the log's names.
CREATE TABLE setting (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- One row a version of a resource, or a received message (type 'Message').
CREATE TABLE record (
    row      INTEGER PRIMARY KEY,
    type     TEXT    NOT NULL,
    id       TEXT    NOT NULL,
    version  INTEGER NOT NULL,
    current  INTEGER NOT NULL,            -- 1 for the newest version
    pack     TEXT    NOT NULL,
    offset   INTEGER NOT NULL,
    length   INTEGER NOT NULL,
    updated  INTEGER NOT NULL,            -- milliseconds since 1970, set by this server; grows with the row
    deleted  INTEGER NOT NULL,            -- 1 for a version that is a deletion, 2 for one whose content was erased
    until    INTEGER,                     -- the row of the next version; searches over pages look back by it
    marks    BLOB    NOT NULL,            -- the first 8 bytes of each of its tokens, sorted
    UNIQUE (type, id, version)
);
CREATE INDEX record_type ON record (type, row);

-- token: 16 bytes of HMAC-SHA256; row: the version that it finds; generation: the row by 32,768, so that the postings of
-- what is new lie together.
CREATE TABLE posting (
    generation INTEGER NOT NULL,
    token      BLOB    NOT NULL,
    row        INTEGER NOT NULL,
    PRIMARY KEY (generation, token, row)
) WITHOUT ROWID;

-- A conditional identity belongs to one resource: whoever claims it second must retry.
CREATE TABLE identity (
    token BLOB NOT NULL PRIMARY KEY,
    type  TEXT NOT NULL,
    id    TEXT NOT NULL
) WITHOUT ROWID;

-- Messages already taken, by the keyed hash of sender, MSH-10 and content.
CREATE TABLE message (
    token BLOB NOT NULL PRIMARY KEY,
    id    TEXT NOT NULL
) WITHOUT ROWID;

-- Data keys under the root key.
CREATE TABLE data_key (
    owner   TEXT NOT NULL PRIMARY KEY,
    wrapped BLOB NOT NULL
) WITHOUT ROWID;

-- Patients whose key was destroyed. Nothing is committed under such a key again.
CREATE TABLE erasure (
    owner  TEXT    NOT NULL PRIMARY KEY,
    erased INTEGER NOT NULL,              -- milliseconds since 1970
    sealed TEXT    NOT NULL,              -- what was said of it, sealed, hexadecimal
    done   INTEGER NOT NULL               -- 0: something of it is still to be done
) WITHOUT ROWID;

-- Log entries that wait for the sequencer, in the order of commit.
CREATE TABLE outbox (
    row   INTEGER PRIMARY KEY,
    entry BLOB NOT NULL
);

-- The log: entry n, and the row it speaks of.
CREATE TABLE log (
    position INTEGER PRIMARY KEY,
    entry    BLOB    NOT NULL,
    row      INTEGER NOT NULL UNIQUE
);
-- The hashes of the tree, numbered as C2SP tlog numbers them.
CREATE TABLE log_hash (
    number INTEGER PRIMARY KEY,
    hash   BLOB NOT NULL
);
CREATE TABLE checkpoint (
    size INTEGER PRIMARY KEY,
    note TEXT NOT NULL
);

-- Work that was asked for and goes on in the background. What was asked is sealed: a filter may hold patient data.
CREATE TABLE job (
    id       TEXT    NOT NULL PRIMARY KEY, -- random
    kind     TEXT    NOT NULL,             -- 'export'
    owner    BLOB    NOT NULL,             -- keyed hash of who asked
    request  BLOB    NOT NULL,             -- sealed
    upto     INTEGER NOT NULL,             -- the newest row when it was asked: later changes are not seen
    made     INTEGER NOT NULL,             -- milliseconds since 1970
    state    INTEGER NOT NULL              -- 0 waits, 1 done, 2 failed
) WITHOUT ROWID;
-- A file of an export is no file: it is rows, which are opened when it is fetched.
CREATE TABLE job_file (
    job     TEXT    NOT NULL,
    number  INTEGER NOT NULL,
    type    TEXT    NOT NULL,
    deleted INTEGER NOT NULL,              -- 1: what was deleted
    part    INTEGER NOT NULL,              -- which members of a group
    after   INTEGER NOT NULL,
    last    INTEGER NOT NULL,
    count   INTEGER,                       -- where it is known without opening
    PRIMARY KEY (job, number)
) WITHOUT ROWID;

-- Subscriptions that are on. What they ask for is in the resource, sealed.
CREATE TABLE subscription (
    id        TEXT    NOT NULL PRIMARY KEY,
    row       INTEGER NOT NULL,            -- the version that counts
    begun     INTEGER NOT NULL,            -- the version with which a client let it begin, or begin anew
    handshake INTEGER NOT NULL,            -- 1: the receiver has still to be asked whether it listens
    failures  INTEGER NOT NULL,            -- since the last success
    failing   INTEGER,                     -- when the first of them was
    last      INTEGER NOT NULL,            -- when something was last sent
    events    INTEGER NOT NULL,            -- since it was made
    sent      INTEGER NOT NULL,            -- up to this event
    due       INTEGER NOT NULL             -- when to look at it again; all times in milliseconds since 1970
) WITHOUT ROWID;
CREATE INDEX subscription_due ON subscription (due);
-- Events: which row is to be told to whom. Sent ones stay for a while, for $events.
CREATE TABLE notification (
    subscription TEXT    NOT NULL,
    number       INTEGER NOT NULL,
    row          INTEGER NOT NULL,
    made         INTEGER NOT NULL,
    PRIMARY KEY (subscription, number)
) WITHOUT ROWID;
