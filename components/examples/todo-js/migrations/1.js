// Version 1 of the schema. Never change a migration that has run: add `2.js`.
export default `
CREATE TABLE todos (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    owner TEXT NOT NULL,
    title TEXT NOT NULL CHECK (title <> ''),
    done  INTEGER NOT NULL DEFAULT 0 CHECK (done IN (0, 1)),
    UNIQUE (owner, title)
) STRICT;
`;
