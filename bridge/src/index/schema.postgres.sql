-- `schema.sql` in PostgreSQL's words: each number has 64 bits, each text is ordered by its bytes.
-- The index of one custodian. No column holds patient data: content is sealed in packs, what is searched for is
-- a keyed hash, ids are random unless a client chose its own (update as create).

-- What must not change while the data lives: the custodian's and the log's names.
CREATE TABLE setting (
    name  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value TEXT COLLATE "C" NOT NULL
);

-- One row a version of a resource, or a received message (type 'Message').
CREATE TABLE record (
    row      BIGINT           NOT NULL PRIMARY KEY,
    type     TEXT COLLATE "C" NOT NULL,
    id       TEXT COLLATE "C" NOT NULL,
    version  BIGINT           NOT NULL,
    current  BIGINT           NOT NULL,             -- 1 for the newest version
    pack     TEXT COLLATE "C" NOT NULL,
    "offset" BIGINT           NOT NULL,
    length   BIGINT           NOT NULL,
    updated  BIGINT           NOT NULL,             -- milliseconds since 1970, set by this server; grows with the row
    deleted  BIGINT           NOT NULL,             -- 1 for a version that is a deletion, 2 for one whose content was erased
    until    BIGINT,                                -- the row of the next version; searches over pages look back by it
    marks    BYTEA            NOT NULL,             -- the first 8 bytes of each of its tokens, sorted
    UNIQUE (type, id, version)
);
CREATE INDEX record_type ON record (type, row);

-- token: 16 bytes of HMAC-SHA256; row: the version that it finds; generation: the row by 32,768, so that the postings of
-- what is new lie together.
CREATE TABLE posting (
    generation BIGINT NOT NULL,
    token      BYTEA  NOT NULL,
    row        BIGINT NOT NULL,
    PRIMARY KEY (generation, token, row)
);

-- A conditional identity belongs to one resource: whoever claims it second must retry.
CREATE TABLE identity (
    token BYTEA            NOT NULL PRIMARY KEY,
    type  TEXT COLLATE "C" NOT NULL,
    id    TEXT COLLATE "C" NOT NULL
);

-- Messages already taken, by the keyed hash of sender, MSH-10 and content.
CREATE TABLE message (
    token BYTEA            NOT NULL PRIMARY KEY,
    id    TEXT COLLATE "C" NOT NULL
);

-- Data keys under the root key.
CREATE TABLE data_key (
    owner   TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    wrapped BYTEA            NOT NULL
);

-- Patients whose key was destroyed. Nothing is committed under such a key again.
CREATE TABLE erasure (
    owner  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    erased BIGINT           NOT NULL,               -- milliseconds since 1970
    sealed TEXT COLLATE "C" NOT NULL,               -- what was said of it, sealed, hexadecimal
    done   BIGINT           NOT NULL                -- 0: something of it is still to be done
);

-- Log entries that wait for the sequencer, in the order of commit.
CREATE TABLE outbox (
    row   BIGINT PRIMARY KEY,
    entry BYTEA  NOT NULL
);

-- The log: entry n, and the row it speaks of.
CREATE TABLE log (
    position BIGINT PRIMARY KEY,
    entry    BYTEA  NOT NULL,
    row      BIGINT NOT NULL UNIQUE
);
-- The hashes of the tree, numbered as C2SP tlog numbers them.
CREATE TABLE log_hash (
    number BIGINT PRIMARY KEY,
    hash   BYTEA  NOT NULL
);
CREATE TABLE checkpoint (
    size BIGINT           PRIMARY KEY,
    note TEXT COLLATE "C" NOT NULL
);

-- Work that was asked for and goes on in the background. What was asked is sealed: a filter may hold patient data.
CREATE TABLE job (
    id      TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- random
    kind    TEXT COLLATE "C" NOT NULL,             -- 'export'
    owner   BYTEA            NOT NULL,             -- keyed hash of who asked
    request BYTEA            NOT NULL,             -- sealed
    upto    BIGINT           NOT NULL,             -- the newest row when it was asked: later changes are not seen
    made    BIGINT           NOT NULL,             -- milliseconds since 1970
    state   BIGINT           NOT NULL              -- 0 waits, 1 done, 2 failed
);
-- A file of an export is no file: it is rows, which are opened when it is fetched.
CREATE TABLE job_file (
    job     TEXT COLLATE "C" NOT NULL,
    number  BIGINT           NOT NULL,
    type    TEXT COLLATE "C" NOT NULL,
    deleted BIGINT           NOT NULL, -- 1: what was deleted
    part    BIGINT           NOT NULL, -- which members of a group
    after   BIGINT           NOT NULL,
    last    BIGINT           NOT NULL,
    count   BIGINT,                    -- where it is known without opening
    PRIMARY KEY (job, number)
);

-- Subscriptions that are on. What they ask for is in the resource, sealed.
CREATE TABLE subscription (
    id        TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    row       BIGINT           NOT NULL,             -- the version that counts
    begun     BIGINT           NOT NULL,             -- the version with which a client let it begin, or begin anew
    handshake BIGINT           NOT NULL,             -- 1: the receiver has still to be asked whether it listens
    failures  BIGINT           NOT NULL,             -- since the last success
    failing   BIGINT,                                -- when the first of them was
    last      BIGINT           NOT NULL,             -- when something was last sent
    events    BIGINT           NOT NULL,             -- since it was made
    sent      BIGINT           NOT NULL,             -- up to this event
    due       BIGINT           NOT NULL              -- when to look at it again; all times in milliseconds since 1970
);
CREATE INDEX subscription_due ON subscription (due);
-- Events: which row is to be told to whom. Sent ones stay for a while, for $events.
CREATE TABLE notification (
    subscription TEXT COLLATE "C" NOT NULL,
    number       BIGINT           NOT NULL,
    row          BIGINT           NOT NULL,
    made         BIGINT           NOT NULL,
    PRIMARY KEY (subscription, number)
);

-- Which replica does the background work, and until when (milliseconds since 1970, by the database's clock).
CREATE TABLE lease (
    name    TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    holder  TEXT COLLATE "C" NOT NULL,
    epoch   BIGINT           NOT NULL, -- grows with each takeover
    expires BIGINT           NOT NULL
);
-- The journal of the embedded ledger: with SQLite it is a file.
CREATE TABLE ledger_block (
    number BIGINT           NOT NULL PRIMARY KEY,
    line   TEXT COLLATE "C" NOT NULL
);
