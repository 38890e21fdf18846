-- Grants whose last second is over are looked for as time goes on: the same words for both engines.

CREATE INDEX consent_grant_open ON consent_grant (not_after) WHERE closed = 0;
