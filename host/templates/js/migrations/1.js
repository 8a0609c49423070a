// Version 1 of the schema. Never change a migration that has run: add `2.js`.
export default `
CREATE TABLE items (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    owner TEXT NOT NULL,
    text  TEXT NOT NULL CHECK (text <> '')
) STRICT;
`;
