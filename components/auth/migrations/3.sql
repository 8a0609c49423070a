-- All refresh tokens of a session have a part in common, and this is its digest. By it a token is known long after its row went, so
-- a session needs two rows, however often it is refreshed. NULL until the session is refreshed for the first time since this.
ALTER TABLE sessions ADD COLUMN family TEXT;

-- 1 for a token that has that part. The row of any other stays until the token expires.
ALTER TABLE refresh_tokens ADD COLUMN of_family INTEGER NOT NULL DEFAULT 0;
