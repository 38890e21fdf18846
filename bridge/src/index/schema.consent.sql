-- Grants of access that stand on a registry: the same words for both engines. What is here is what the chain shows anybody, and the
-- random id of a Consent; whose it is and what it says is sealed in that.

CREATE TABLE consent_grant (
    key        TEXT   NOT NULL PRIMARY KEY, -- on the chain, hexadecimal
    consent    TEXT   NOT NULL,             -- the id of the Consent that holds its opening
    commitment TEXT   NOT NULL,
    tag        TEXT   NOT NULL,
    not_after  BIGINT NOT NULL,             -- seconds since 1970, as on the chain
    preimage   TEXT   NOT NULL,             -- sealed, hexadecimal; or '': the patient alone has it
    made       BIGINT NOT NULL,             -- milliseconds since 1970, as all that follow; 0: never
    sent       BIGINT NOT NULL,             -- when its registration was last sent
    stands     BIGINT NOT NULL,             -- 1: it was seen in a block that stays
    revoked    BIGINT NOT NULL,             -- when it was first known to be revoked, by whatever way
    shown      BIGINT NOT NULL,             -- when the preimage was last sent to the registry
    ended      BIGINT NOT NULL,             -- 1: its revocation was seen in a block that stays
    closed     BIGINT NOT NULL              -- 1: the Consent's status has followed
);
CREATE INDEX consent_grant_tag ON consent_grant (tag);
CREATE INDEX consent_grant_waits ON consent_grant (not_after) WHERE stands = 0 AND revoked = 0;
CREATE INDEX consent_grant_revoked ON consent_grant (revoked) WHERE revoked > 0;
