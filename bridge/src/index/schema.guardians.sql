-- Who acts for a patient who is not of age: the same words for both engines. Ids alone: when it ends, the record's birth date says.

CREATE TABLE guardian (
    account TEXT   NOT NULL,                  -- the guardian's
    patient TEXT   NOT NULL,                  -- `Patient/x`
    made    BIGINT NOT NULL,                  -- milliseconds since 1970
    PRIMARY KEY (account, patient)
);
CREATE INDEX guardian_patient ON guardian (patient);
