CREATE TABLE notes (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    owner TEXT NOT NULL,
    text  TEXT NOT NULL CHECK (text <> '')
) STRICT;
CREATE INDEX notes_of_an_owner ON notes (owner, id);
