-- Which queue a push stands in, a receiver each: a keyed digest of the receiver's id; '' for those that waited before.
ALTER TABLE push ADD COLUMN receiver TEXT NOT NULL DEFAULT '';
DROP INDEX push_due;
CREATE INDEX push_due ON push (state, receiver, due);
