-- Apps that are opened from a record (SMART App Launch, EHR launch): the same words for both engines.

-- Where an app is opened; '': it is not opened from here.
ALTER TABLE client ADD COLUMN launch TEXT NOT NULL DEFAULT '';
-- What it uses records for, a code of v3-ActReason; '': what is configured.
ALTER TABLE client ADD COLUMN purpose TEXT NOT NULL DEFAULT '';
-- 1: nobody here has registered it, it has itself.
ALTER TABLE client ADD COLUMN by_itself BIGINT NOT NULL DEFAULT 0;
-- `Encounter/x`, where the app was opened from one; or ''.
ALTER TABLE app_grant ADD COLUMN encounter TEXT NOT NULL DEFAULT '';
