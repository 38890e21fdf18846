-- Emergencies that somebody has declared to see a patient's record: the same words for both engines. Here are ids, times and states; what
-- somebody said for a reason is sealed in the AuditEvent.

CREATE TABLE emergency (
    id      TEXT   NOT NULL PRIMARY KEY, -- of the AuditEvent that tells of it
    holder  TEXT   NOT NULL,             -- who may see more by it: `Practitioner/x`; or another organisation's id
    account TEXT   NOT NULL,             -- the account that declared it; or '': by a token that is of none
    patient TEXT   NOT NULL,             -- `Patient/x`: whose record
    purpose TEXT   NOT NULL,             -- a code of v3-ActReason
    begun   BIGINT NOT NULL,             -- milliseconds since 1970
    expires BIGINT NOT NULL,
    ended   BIGINT NOT NULL,             -- 1: before its time
    seen    BIGINT NOT NULL              -- 1: the patient has taken note
);
CREATE INDEX emergency_holder ON emergency (holder, expires);
CREATE INDEX emergency_patient ON emergency (patient);
