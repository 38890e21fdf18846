-- People who sign in: the same words for both engines. No names, no addresses: ids are random, and what a key is known by is blinded.
-- Times are milliseconds since 1970.

CREATE TABLE account (
    id           TEXT   NOT NULL PRIMARY KEY, -- random: also what passkeys call the user
    role         TEXT   NOT NULL,
    person       TEXT   NOT NULL,             -- the resource that the person is, `Patient/x`; or ''
    organisation TEXT   NOT NULL,             -- `Organization/y`; or ''
    disabled     BIGINT NOT NULL,             -- 0 or 1
    made         BIGINT NOT NULL
);
CREATE UNIQUE INDEX account_person ON account (role, person, organisation) WHERE person <> '';
-- What people sign in with.
CREATE TABLE credential (
    name    TEXT   NOT NULL PRIMARY KEY,      -- keyed hash of the passkey's id, the wallet's address, or issuer and subject
    account TEXT   NOT NULL,
    kind    TEXT   NOT NULL,
    sealed  TEXT   NOT NULL,                  -- what is needed to check and to show it, sealed; hexadecimal
    counter BIGINT NOT NULL,                  -- signatures that a passkey says it has made
    made    BIGINT NOT NULL,
    used    BIGINT NOT NULL                   -- 0: never
);
CREATE INDEX credential_account ON credential (account);
CREATE TABLE invitation (
    digest       TEXT   NOT NULL PRIMARY KEY, -- SHA-256 of the code, hexadecimal
    role         TEXT   NOT NULL,
    person       TEXT   NOT NULL,
    organisation TEXT   NOT NULL,
    expires      BIGINT NOT NULL
);
CREATE TABLE session (
    digest     TEXT   NOT NULL PRIMARY KEY,   -- SHA-256 of the cookie's value, hexadecimal
    account    TEXT   NOT NULL,
    credential TEXT   NOT NULL,               -- what was signed in with
    made       BIGINT NOT NULL,
    seen       BIGINT NOT NULL,               -- to the minute
    expires    BIGINT NOT NULL
);
CREATE INDEX session_account ON session (account);
CREATE INDEX session_expires ON session (expires);
-- Challenges that were answered: each counts once, whichever replica it is sent to.
CREATE TABLE answered (
    digest  TEXT   NOT NULL PRIMARY KEY,      -- SHA-256, hexadecimal
    expires BIGINT NOT NULL                   -- after that it is refused for its age
);
CREATE INDEX answered_expires ON answered (expires);
