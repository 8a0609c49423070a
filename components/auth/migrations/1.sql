-- Instants are milliseconds since 1970-01-01 UTC. Digests are SHA-256 in base64url: nothing here lets anybody in.

CREATE TABLE logins (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    username TEXT NOT NULL UNIQUE,
    -- What names are compared by: two that look alike are the same.
    name_key TEXT NOT NULL UNIQUE,
    password_hash TEXT,
    -- Counts the passwords, not the hashes of one: a better hash of the same password changes nothing.
    password_version INTEGER NOT NULL DEFAULT 1 CHECK (password_version >= 1),
    role TEXT NOT NULL CHECK (role IN ('user', 'admin')),
    -- pending: the name is kept while a profile is made. ending: its sessions are being ended. Only active lets in.
    state TEXT NOT NULL CHECK (state IN ('pending', 'active', 'ending')),
    -- What user knows this login's profile by.
    registration TEXT NOT NULL UNIQUE,
    -- When the registration under way began; a claim that grew old may be taken over.
    claimed_at INTEGER NOT NULL,
    -- 1 while the password is the one that everybody knows.
    development INTEGER NOT NULL CHECK (development IN (0, 1)),
    CHECK (state <> 'active' OR password_hash IS NOT NULL)
) STRICT;

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    login_id INTEGER NOT NULL REFERENCES logins (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    -- Generation and expiry of the newest refresh token.
    generation INTEGER NOT NULL CHECK (generation >= 1),
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_login ON sessions (login_id, created_at);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- Used tokens stay until they expire, to be known when a thief or a victim comes back with one.
CREATE TABLE refresh_tokens (
    digest TEXT PRIMARY KEY CHECK (length(digest) = 43),
    session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    generation INTEGER NOT NULL CHECK (generation >= 1),
    issued_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER,
    UNIQUE (session_id, generation)
) STRICT, WITHOUT ROWID;

CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at);

-- Attempts to log in, by digest of an account's name or of an address.
CREATE TABLE attempts (
    digest TEXT PRIMARY KEY CHECK (length(digest) = 43),
    count INTEGER NOT NULL CHECK (count >= 0),
    refused_until INTEGER NOT NULL,
    forgotten_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX attempts_by_expiry ON attempts (forgotten_at);

-- The operator, with the password "admin".
INSERT INTO logins (username, name_key, password_hash, role, state, registration, claimed_at, development)
VALUES (
    'admin',
    'admin',
    '$argon2id$v=19$m=19456,t=2,p=1$ONxQb3FLT503PUnnLu0iqg$HbzAdyNwdXFHScoCTQM5RaWa26PnHFCY3Af8oKhek+Q',
    'admin',
    'active',
    'operator',
    0,
    1
);
