-- Answers to orders that came with an Idempotency-Key, for a day: the same request again gets the same answer.
CREATE TABLE answers (
    user_id  TEXT    NOT NULL,
    key      TEXT    NOT NULL,
    -- What was ordered, so that a key is not taken for another order.
    cart     TEXT    NOT NULL,
    answer   TEXT    NOT NULL,
    -- Seconds since 1970-01-01 UTC.
    given_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX answers_by_age ON answers (given_at);
