-- Services that work on this index: the same words for both engines. What they are called is for their operator.
CREATE TABLE replica (
    id    TEXT   NOT NULL PRIMARY KEY, -- random, of one process
    place TEXT   NOT NULL,             -- machine, process, address
    root  TEXT   NOT NULL,             -- the root key that wraps what is new
    seen  BIGINT NOT NULL              -- by the index's clock, in milliseconds since 1970
);
