-- What is anchored: the same words for both engines.
CREATE TABLE anchor (
    size    BIGINT NOT NULL PRIMARY KEY,
    block   BIGINT NOT NULL,
    hash    TEXT   NOT NULL,               -- the block's, hexadecimal
    time    BIGINT NOT NULL,               -- seconds since 1970, as the block says
    gas     BIGINT,                        -- where it is known
    bundle  TEXT   NOT NULL                -- the proof for receipts, JSON: only of the newest, only of a chain of others; or ''
);
