-- The authorization server: the same words for both engines. No patient data: a client is a program.

-- Programs that may ask for tokens by a key of their own.
CREATE TABLE client (
    id        TEXT   NOT NULL PRIMARY KEY, -- random
    name      TEXT   NOT NULL,
    scope     TEXT   NOT NULL,             -- the most that it is granted
    published BIGINT NOT NULL,             -- 0: its public keys follow, JSON; 1: the address of them
    keys      TEXT   NOT NULL,
    made      BIGINT NOT NULL              -- milliseconds since 1970
);
-- Assertions of clients that were used: each counts once, whichever replica it is sent to.
CREATE TABLE assertion (
    digest  TEXT   NOT NULL PRIMARY KEY,   -- SHA-256 of client and jti, hexadecimal
    expires BIGINT NOT NULL                -- seconds since 1970: after that it is refused for its age
);
CREATE INDEX assertion_expires ON assertion (expires);
-- Tokens that were revoked before their time.
CREATE TABLE revoked (
    id      TEXT   NOT NULL PRIMARY KEY,   -- the token's jti
    expires BIGINT NOT NULL                -- seconds since 1970: after that it is refused for its age
);
CREATE INDEX revoked_expires ON revoked (expires);
