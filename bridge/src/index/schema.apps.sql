-- Apps that people let in (SMART App Launch): the same words for both engines. Ids and digests alone.

-- Where an app is called back: addresses, with a space between two. A backend service has none. `published` is 2 where there are no keys.
ALTER TABLE client ADD COLUMN redirects TEXT NOT NULL DEFAULT '';
-- What somebody has allowed an app: the family of all tokens that come of it. Times are milliseconds since 1970.
CREATE TABLE app_grant (
    id        TEXT   NOT NULL PRIMARY KEY, -- random: access tokens name it
    family    TEXT   NOT NULL UNIQUE,      -- SHA-256 of what code and refresh tokens have in common, hexadecimal
    secret    TEXT   NOT NULL,             -- SHA-256 of what only the present one has; '' where there is none
    client    TEXT   NOT NULL,
    account   TEXT   NOT NULL,
    session   TEXT   NOT NULL,             -- the session that it ends with, by its digest; or '': it outlives it
    scope     TEXT   NOT NULL,
    patient   TEXT   NOT NULL,             -- `Patient/x`; or ''
    redirect  TEXT   NOT NULL,             -- of the code, until it was used
    challenge TEXT   NOT NULL,             -- PKCE: SHA-256 of the verifier, base64url; '': the code was used
    nonce     TEXT   NOT NULL,
    made      BIGINT NOT NULL,
    expires   BIGINT NOT NULL              -- of the code or the refresh token; where there is neither, of the access token
);
CREATE INDEX app_grant_account ON app_grant (account);
CREATE INDEX app_grant_expires ON app_grant (expires);
