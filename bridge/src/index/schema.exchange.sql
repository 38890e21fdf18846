-- What is on its way to other organisations: the same words for both engines. What is sent, to whom and for whom is sealed.
CREATE TABLE push (
    id       TEXT   NOT NULL PRIMARY KEY, -- random
    state    BIGINT NOT NULL,             -- 0 waits, 1 delivered, 2 refused, 3 given up
    failures BIGINT NOT NULL,             -- since it was made
    due      BIGINT NOT NULL,             -- when to try next; all times in milliseconds since 1970
    made     BIGINT NOT NULL,
    changed  BIGINT NOT NULL,
    sealed   TEXT   NOT NULL              -- hexadecimal
);
CREATE INDEX push_due ON push (state, due);
