-- What is anchored: the same words for both engines.
CREATE TABLE anchor (
    size    BIGINT NOT NULL PRIMARY KEY,
    block   BIGINT NOT NULL,
    hash    TEXT   NOT NULL,               -- the block's, hexadecimal
    time    BIGINT NOT NULL,               -- seconds since 1970, as the block says
    gas     BIGINT,                        -- where it is known
    bundle  TEXT   NOT NULL                -- the proof for receipts, JSON: only of the newest, only of a chain of others; or ''
);

-- The newest checkpoint of each log that this bridge is a witness of.
CREATE TABLE witnessed (
    origin  TEXT   NOT NULL PRIMARY KEY,
    size    BIGINT NOT NULL,
    note    TEXT   NOT NULL
);
-- Two checkpoints that one log has signed and that cannot both be true. Never removed.
CREATE TABLE evidence (
    origin  TEXT   NOT NULL,
    size    BIGINT NOT NULL,
    seen    BIGINT NOT NULL,               -- milliseconds since 1970
    one     TEXT   NOT NULL,
    other   TEXT   NOT NULL,
    PRIMARY KEY (origin, size, other)
);
