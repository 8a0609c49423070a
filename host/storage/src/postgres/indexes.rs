//! Builds the plain indexes of pending migrations before these run, so that writes continue meanwhile.
//!
//! In a transaction, CREATE INDEX stops all writes to its table until the commit. So each index is first built by CREATE INDEX
//! CONCURRENTLY, outside of a transaction and without the writer's lock. It has a name of the host's own, which is a hash of its
//! definition. The migration then only renames it. If the migration fails, a complete index stays, and the next run takes it. A
//! migration that succeeds drops those that no migration took. Unique indexes are not built ahead, because they would refuse
//! writes of the active revision.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

use super::Shared;
use super::dialect::{Index, Step};
use super::session::Session;
use super::transaction::milliseconds;
use crate::StorageError;

/// How long to wait before asking again whether another host still builds an index.
const TURN_PAUSE: Duration = Duration::from_millis(100);

/// Drops complete indexes that no migration took. An incomplete one may be under construction by another host.
pub(super) const DROP_UNUSED: &str = r"
    DO $$
    DECLARE unused regclass;
    BEGIN
        FOR unused IN
            SELECT indexrelid::regclass FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
            WHERE relnamespace = current_schema()::regnamespace AND relname LIKE 'comptoir\_index\_%' AND indisvalid
        LOOP
            EXECUTE format('DROP INDEX %s', unused);
        END LOOP;
    END
    $$";

/// The statement of a migration that creates this index: a new name for one that was built, or else the migration's own.
pub(super) async fn creation(session: &Session, step: &Step) -> Result<String, StorageError> {
    let Some(index) = &step.index else { return Ok(step.sql.clone()) };
    let built = built_name(index);
    Ok(match is_complete(session, &built).await? {
        Some(true) if is_complete(session, &index.name).await?.is_none() => {
            format!("ALTER INDEX {built} RENAME TO {}", index.name)
        }
        _ => step.sql.clone(),
    })
}

/// Whether the same definition may mean another table or column after this step.
pub(super) fn changes_names(step: &Step) -> bool {
    step.sql.starts_with("DROP ") || (step.sql.starts_with("ALTER ") && step.sql.contains(" RENAME "))
}

/// Builds an index of a migration ahead of it, if its table and columns exist already.
pub(super) async fn build(shared: &Shared, index: &Index) -> Result<(), StorageError> {
    let built = built_name(index);
    let deadline = milliseconds(shared.config.migration_deadline);
    // This session is not returned to the pool: closing its connection releases the lock and the settings.
    let mut session = shared.lend(&shared.reader).await?;
    session.extend_patience(shared.config.migration_deadline);
    session
        .command(&format!(
            "SET default_transaction_read_only = off; SET statement_timeout = {deadline}; SET lock_timeout = {deadline}"
        ))
        .await?;
    take_turn(&session, shared.index_lock).await?;
    if is_complete(&session, &index.name).await?.is_some() {
        return Ok(());
    }
    match is_complete(&session, &built).await? {
        Some(true) => return Ok(()),
        // A host stopped while it built the index.
        Some(false) => session.command(&format!("DROP INDEX CONCURRENTLY {built}")).await?,
        None => {}
    }
    match session.command(&format!("CREATE INDEX CONCURRENTLY {built} {}", index.definition)).await {
        // The migrations create its table or a column first, so they also build it.
        Err(StorageError::Invalid(_)) => Ok(()),
        ended => ended,
    }
}

/// Waits until no other host builds an index of this schema.
///
/// A statement that waits for a lock would have a snapshot, and CREATE INDEX CONCURRENTLY waits for the end of all older ones.
async fn take_turn(session: &Session, lock: i64) -> Result<(), StorageError> {
    while !session.value::<bool>(&format!("SELECT pg_try_advisory_lock({lock})")).await? {
        sleep(TURN_PAUSE).await;
    }
    Ok(())
}

/// Whether an index is complete. None if there is no such index.
async fn is_complete(session: &Session, name: &str) -> Result<Option<bool>, StorageError> {
    let name = name.replace('\'', "''");
    let asked = format!("SELECT (SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('{name}'))");
    session.value(&asked).await
}

fn built_name(index: &Index) -> String {
    let digest: String = Sha256::digest(&index.definition).iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    format!("comptoir_index_{digest}")
}
