-- Registrations that came with an Idempotency-Key, for a day: the same request again gets the same answer. They go with their
-- login. A password is compared with the login's hash, so nothing here helps to guess it.
CREATE TABLE answers (
    key          TEXT    PRIMARY KEY,
    registration TEXT    NOT NULL REFERENCES logins (registration) ON DELETE CASCADE,
    -- Digest of the name and the address that were asked for.
    fingerprint  TEXT    NOT NULL CHECK (length(fingerprint) = 43),
    -- NULL until the login is active.
    answer       TEXT,
    given_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX answers_by_age ON answers (given_at);
CREATE INDEX answers_by_registration ON answers (registration);
