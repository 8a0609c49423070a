//! Schema changes: one run is one transaction of the writer's, so no other host migrates at the same time.

use tokio::time::timeout;

use super::session::Session;
use super::transaction::{milliseconds, roll_back, roll_back_after};
use super::{Shared, dialect};
use crate::additive;
use crate::migration::check_numbering;
use crate::{Migration, MigrationError, NotAdditive, StorageError};

/// What the host has in a service's schema, which no statement of the service can name: the migrations that ran, and functions
/// that `dialect` writes where PostgreSQL's own would do another thing than SQLite.
///
/// A sum of integers is an integer, a number that is CAST to one loses its decimal places, and a text has no more than a mebibyte.
pub(super) const OWN: &str = "
    CREATE TABLE IF NOT EXISTS comptoir_migrations (
        version bigint PRIMARY KEY,
        ran_at timestamptz NOT NULL DEFAULT now(),
        checked boolean NOT NULL DEFAULT false
    );
    CREATE OR REPLACE FUNCTION comptoir_sum(numeric) RETURNS bigint IMMUTABLE RETURN CAST($1 AS bigint);
    CREATE OR REPLACE FUNCTION comptoir_sum(bigint) RETURNS bigint IMMUTABLE RETURN $1;
    CREATE OR REPLACE FUNCTION comptoir_sum(double precision) RETURNS double precision IMMUTABLE RETURN $1;
    CREATE OR REPLACE FUNCTION comptoir_integer(double precision) RETURNS bigint IMMUTABLE RETURN CAST(trunc($1) AS bigint);
    CREATE OR REPLACE FUNCTION comptoir_integer(bigint) RETURNS bigint IMMUTABLE RETURN $1;
    CREATE OR REPLACE FUNCTION comptoir_integer(text) RETURNS bigint IMMUTABLE RETURN CAST($1 AS bigint);
    CREATE OR REPLACE FUNCTION comptoir_integer(boolean) RETURNS bigint IMMUTABLE RETURN CAST(CAST($1 AS integer) AS bigint);
    CREATE OR REPLACE FUNCTION comptoir_too_large() RETURNS text LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'a text of more than 1048576 bytes' USING ERRCODE = 'program_limit_exceeded';
        END
    $$;
    CREATE OR REPLACE FUNCTION comptoir_join(text, text) RETURNS text IMMUTABLE RETURN
        CASE WHEN octet_length($1) + octet_length($2) > 1048576 THEN comptoir_too_large() ELSE $1 || $2 END";

/// The version of the last one.
pub(super) const VERSION: &str = "SELECT coalesce(max(version), 0) FROM comptoir_migrations";

/// Changes a row to what it is.
pub(super) const WRITE_NOTHING: &str = "UPDATE comptoir_migrations SET ran_at = ran_at
    WHERE version = (SELECT max(version) FROM comptoir_migrations)";

/// That of the last one that was not checked to only add.
pub(super) const UNCHECKED_VERSION: &str =
    "SELECT coalesce(max(version), 0) FROM comptoir_migrations WHERE NOT checked";

/// Gives every generated id a beginning after those that migrations wrote down, as SQLite does of itself.
const ADVANCE_IDS: &str = r#"
    DO $$
    DECLARE generated record;
    BEGIN
        FOR generated IN
            SELECT attrelid::regclass AS "table", attname AS "column",
                pg_get_serial_sequence(attrelid::regclass::text, attname) AS "sequence"
            FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
            WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND attidentity <> ''
        LOOP
            EXECUTE format(
                'SELECT CASE WHEN highest IS NOT NULL THEN setval(%1$L, greatest(highest, nextval(%1$L) - 1, 1)) END '
                    'FROM (SELECT max(%2$I) AS highest FROM %3$s) AS ids',
                generated."sequence", generated."column", generated."table"
            );
        END LOOP;
    END
    $$"#;

/// A migration in PostgreSQL's words.
struct Translated {
    version: u32,
    steps: Vec<dialect::Step>,
}

/// Runs what is above the schema's version. Gives the versions that ran; an error means that nothing changed.
pub(super) async fn run(shared: &Shared, migrations: &[Migration], checked: bool) -> Result<Vec<u32>, MigrationError> {
    check_numbering(migrations)?;
    let translated = translate(migrations, shared.version(VERSION).await?)?;
    let _running = shared.migrating.begin();
    let mut session = shared.take_writer_once().await?;
    session.extend_patience(shared.config.migration_deadline);
    // Outcome up, the connection is closed, and with it the transaction rolled back.
    match timeout(shared.config.migration_deadline, run_on(session, shared, translated, checked)).await {
        Ok(result) => result,
        Err(_) => Err(StorageError::TimedOut.into()),
    }
}

async fn run_on(
    session: Session,
    shared: &Shared,
    migrations: Vec<Translated>,
    checked: bool,
) -> Result<Vec<u32>, MigrationError> {
    let ran = apply(&session, shared, migrations, checked).await;
    match &ran {
        Ok(versions) if !versions.is_empty() => {
            session.command("COMMIT").await?;
            shared.acknowledge();
            // What is compiled here may be of the tables as they were.
            shared.forget_compiled();
            session.done();
        }
        Err(MigrationError::Storage(error)) => roll_back_after(session, error).await,
        _ => roll_back(session).await,
    }
    ran
}

async fn apply(
    session: &Session,
    shared: &Shared,
    migrations: Vec<Translated>,
    checked: bool,
) -> Result<Vec<u32>, MigrationError> {
    let deadline = milliseconds(shared.config.migration_deadline);
    session
        .command(&format!(
            "SET LOCAL statement_timeout = {deadline}; SET LOCAL idle_in_transaction_session_timeout = {deadline}; \
             SELECT pg_advisory_xact_lock({})",
            shared.migration_lock
        ))
        .await?;
    let current = session.number(VERSION).await?;
    let mut ran = Vec::new();
    for Translated { version, steps } in migrations.into_iter().filter(|one| i64::from(one.version) > current) {
        for (number, step) in (1..).zip(&steps) {
            let failed = |cause| MigrationError::Failed { version, statement: quote(number, &step.text), cause };
            session.command(&step.sql).await.map_err(failed)?;
        }
        session
            .command(&format!("INSERT INTO comptoir_migrations (version, checked) VALUES ({version}, {checked})"))
            .await?;
        ran.push(version);
    }
    if !ran.is_empty() {
        session.command(ADVANCE_IDS).await?;
    }
    Ok(ran)
}

/// Whether the migrations above the schema's version only add. What the platform's SQL means is asked of SQLite, which runs the
/// migrations before them on an empty database in memory.
pub(super) async fn check_additive(shared: &Shared, migrations: Vec<Migration>) -> Result<(), NotAdditive> {
    let version = shared.version(VERSION).await.map_err(MigrationError::from)?;
    translate(&migrations, version)?;
    let work = tokio::task::spawn_blocking(move || additive::check_after(version, &migrations));
    work.await.unwrap_or_else(|error| Err(MigrationError::Storage(StorageError::Unavailable(error.to_string())).into()))
}

fn translate(migrations: &[Migration], above: u32) -> Result<Vec<Translated>, MigrationError> {
    let new = migrations.iter().filter(|migration| migration.version > above);
    new.map(|Migration { version, sql }| match dialect::migration(sql) {
        Ok(steps) => Ok(Translated { version: *version, steps }),
        Err((number, text, cause)) => {
            Err(MigrationError::Failed { version: *version, statement: quote(number, &text), cause })
        }
    })
    .collect()
}

fn quote(number: u32, text: &str) -> String {
    if text.is_empty() { number.to_string() } else { format!("{number} ({text})") }
}
