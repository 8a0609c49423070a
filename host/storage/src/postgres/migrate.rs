//! Runs migrations: one run is one transaction that holds the writer's lock.
//!
//! So no other host migrates at the same time. Plain indexes are built before (`indexes`).

use tokio::time::timeout;

use super::session::Session;
use super::transaction::{milliseconds, roll_back, roll_back_after};
use super::{Shared, dialect, indexes};
use crate::additive;
use crate::migration::{check_numbering, check_texts};
use crate::{Migration, MigrationError, NotAdditive, RanMigrations, StorageError};

/// The host's own table and functions in a service's schema.
///
/// No statement of the service can name them.
///
/// The table records which migrations ran, and the SHA-256 of their texts. The functions imitate SQLite if PostgreSQL behaves
/// differently. A sum of integers is an integer. A number that is CAST to an integer is truncated. A text has at most one
/// mebibyte.
pub(super) const OWN: &str = "
    CREATE TABLE IF NOT EXISTS comptoir_migrations (
        version bigint PRIMARY KEY,
        ran_at timestamptz NOT NULL DEFAULT now(),
        checked boolean NOT NULL DEFAULT false
    );
    ALTER TABLE comptoir_migrations ADD COLUMN IF NOT EXISTS sha256 text;
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

/// Selects the version of the last migration.
pub(super) const VERSION: &str = "SELECT coalesce(max(version), 0) FROM comptoir_migrations";

/// A write that changes nothing.
pub(super) const WRITE_NOTHING: &str = "UPDATE comptoir_migrations SET ran_at = ran_at
    WHERE version = (SELECT max(version) FROM comptoir_migrations)";

/// Selects the version of the last migration that ran unchecked.
pub(super) const UNCHECKED_VERSION: &str =
    "SELECT coalesce(max(version), 0) FROM comptoir_migrations WHERE NOT checked";

/// Moves all generated ids beyond the ids that migrations inserted, like SQLite.
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

/// A migration in PostgreSQL's SQL dialect.
struct Translated {
    version: u32,
    sha256: String,
    steps: Vec<dialect::Step>,
}

/// Runs the pending migrations and returns the versions that ran.
///
/// Pending are those above the schema's version. An error means that nothing changed.
pub(super) async fn run(shared: &Shared, migrations: &[Migration], checked: bool) -> Result<Vec<u32>, MigrationError> {
    check_numbering(migrations)?;
    let current = shared.version(VERSION).await?;
    let translated = translate(migrations, current)?;
    if current > 0 {
        let built = timeout(shared.config.migration_deadline, build_indexes(shared, &translated)).await;
        built.unwrap_or(Err(StorageError::TimedOut.into()))?;
    }
    let _running = shared.migrating.begin();
    let mut session = shared.take_writer_once().await?;
    session.extend_patience(shared.config.migration_deadline);
    // If the timeout drops this future, the connection is closed, which rolls back the transaction.
    match timeout(shared.config.migration_deadline, run_on(session, shared, migrations, translated, checked)).await {
        Ok(result) => result,
        Err(_) => Err(StorageError::TimedOut.into()),
    }
}

/// The steps of pending migrations before the first that changes names, with version and number.
fn before_names_change(pending: &[Translated]) -> Vec<(u32, u32, &dialect::Step)> {
    let steps = pending.iter().flat_map(|Translated { version, steps, .. }| {
        (1..).zip(steps).map(move |(number, step)| (*version, number, step))
    });
    steps.take_while(|(.., step)| !indexes::changes_names(step)).collect()
}

/// Builds the indexes of pending migrations while the service keeps writing.
async fn build_indexes(shared: &Shared, pending: &[Translated]) -> Result<(), MigrationError> {
    for (version, number, step) in before_names_change(pending) {
        let Some(index) = &step.index else { continue };
        let failed = |cause| MigrationError::Failed { version, statement: quote(number, &step.text), cause };
        indexes::build(shared, index).await.map_err(failed)?;
    }
    Ok(())
}

async fn run_on(
    session: Session,
    shared: &Shared,
    migrations: &[Migration],
    translated: Vec<Translated>,
    checked: bool,
) -> Result<Vec<u32>, MigrationError> {
    let ran = apply(&session, shared, migrations, translated, checked).await;
    match &ran {
        Ok(versions) if !versions.is_empty() => {
            shared.commit(session).await?;
            // Compiled statements may depend on the old tables.
            shared.forget_compiled();
        }
        Err(MigrationError::Storage(error)) => roll_back_after(session, error).await,
        _ => roll_back(session).await,
    }
    ran
}

async fn apply(
    session: &Session,
    shared: &Shared,
    migrations: &[Migration],
    translated: Vec<Translated>,
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
    let current: i64 = session.value(VERSION).await?;
    // Another host may have run other texts since the caller checked.
    check_texts(migrations, u32::try_from(current).unwrap_or(u32::MAX), &ran_migrations(session).await?)?;
    let mut ran = Vec::new();
    for Translated { version, sha256, steps } in translated.into_iter().filter(|one| i64::from(one.version) > current) {
        for (number, step) in (1..).zip(&steps) {
            let failed = |cause| MigrationError::Failed { version, statement: quote(number, &step.text), cause };
            let sql = indexes::creation(session, step).await?;
            session.command(&sql).await.map_err(failed)?;
        }
        session
            .command(&format!(
                "INSERT INTO comptoir_migrations (version, checked, sha256) VALUES ({version}, {checked}, '{sha256}')"
            ))
            .await?;
        ran.push(version);
    }
    if !ran.is_empty() {
        session.command(ADVANCE_IDS).await?;
        session.command(indexes::DROP_UNUSED).await?;
    }
    Ok(ran)
}

/// The texts of the migrations that ran. Those that older hosts ran are not known.
pub(super) async fn ran_migrations(session: &Session) -> Result<RanMigrations, StorageError> {
    let rows = session.pairs("SELECT version, sha256 FROM comptoir_migrations WHERE sha256 IS NOT NULL").await?;
    Ok(rows.into_iter().filter_map(|(version, sha256)| Some((u32::try_from(version).ok()?, sha256))).collect())
}

/// Checks that the pending migrations only add.
///
/// SQLite defines the meaning of the platform's SQL. So the check runs the earlier migrations on an empty SQLite database in
/// memory.
pub(super) async fn check_additive(shared: &Shared, migrations: Vec<Migration>) -> Result<(), NotAdditive> {
    let version = shared.version(VERSION).await.map_err(MigrationError::from)?;
    translate(&migrations, version)?;
    let work = tokio::task::spawn_blocking(move || additive::check_after(version, &migrations));
    work.await.unwrap_or_else(|error| Err(MigrationError::Storage(StorageError::Unavailable(error.to_string())).into()))
}

/// Checks that migrations can be translated to PostgreSQL's dialect. Needs no server, which may refuse them for other reasons.
///
/// # Errors
///
/// [`MigrationError::Failed`] with the first statement that cannot be translated.
pub fn check_translation(migrations: &[Migration]) -> Result<(), MigrationError> {
    translate(migrations, 0).map(drop)
}

fn translate(migrations: &[Migration], above: u32) -> Result<Vec<Translated>, MigrationError> {
    let new = migrations.iter().filter(|migration| migration.version > above);
    new.map(|migration @ Migration { version, sql }| match dialect::migration(sql) {
        Ok(steps) => Ok(Translated { version: *version, sha256: migration.sha256(), steps }),
        Err((number, text, cause)) => {
            Err(MigrationError::Failed { version: *version, statement: quote(number, &text), cause })
        }
    })
    .collect()
}

fn quote(number: u32, text: &str) -> String {
    if text.is_empty() { number.to_string() } else { format!("{number} ({text})") }
}
