-- What an anchor cost, in wei, in decimal: more than a BIGINT holds; '' where it is not known or cost nothing.
ALTER TABLE anchor ADD COLUMN fee TEXT NOT NULL DEFAULT '';
