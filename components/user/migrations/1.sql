-- Dates are "YYYY-MM-DD HH:MM:SS" in UTC, as clients read them.

CREATE TABLE profiles (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The registration at auth that made it. NULL when an administrator made it without a login.
    registration TEXT UNIQUE,
    username TEXT NOT NULL UNIQUE,
    -- What names are compared by: two that look alike are the same.
    name_key TEXT NOT NULL UNIQUE,
    email TEXT CHECK (length(email) <= 254),
    first_name TEXT CHECK (length(first_name) <= 1000),
    last_name TEXT CHECK (length(last_name) <= 1000),
    phone TEXT CHECK (length(phone) <= 1000),
    address TEXT CHECK (length(address) <= 1000),
    date_creation TEXT NOT NULL CHECK (length(date_creation) = 19),
    date_update TEXT NOT NULL CHECK (length(date_update) = 19)
) STRICT;

-- The operator, whose login auth has from the start.
INSERT INTO profiles (registration, username, name_key, email, first_name, last_name, date_creation, date_update)
VALUES (
    'operator', 'admin', 'admin', 'admin@example.com', 'Admin', 'User', '2025-01-01 00:00:00', '2025-01-01 00:00:00'
);
