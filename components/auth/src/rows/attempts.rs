//! Login attempts: the counters of the throttle.

use kit::params;
use kit::storage::{Result, Transaction};

use crate::model::throttle::{Attempts, Subject};

/// The stored attempts of a subject.
pub(crate) fn find(tx: &Transaction, subject: &Subject) -> Result<Option<Attempts>> {
    let sql = "SELECT count, refused_until, forgotten_at FROM attempts WHERE digest = $1";
    tx.query(sql, params![subject.digest()])?.one()
}

/// Stores a subject's attempts.
pub(crate) fn save(tx: &Transaction, subject: &Subject, attempts: Attempts) -> Result<()> {
    tx.execute(
        "INSERT INTO attempts (digest, count, refused_until, forgotten_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (digest) DO UPDATE
         SET count = excluded.count, refused_until = excluded.refused_until, forgotten_at = excluded.forgotten_at",
        params![subject.digest(), attempts.count, attempts.refused_until, attempts.forgotten_at],
    )?;
    Ok(())
}

/// Deletes a subject's counter.
pub(crate) fn forget(tx: &Transaction, subject: &Subject) -> Result<()> {
    tx.execute("DELETE FROM attempts WHERE digest = $1", params![subject.digest()])?;
    Ok(())
}

/// Deletes up to 20 expired counters. An attempt adds at most two, so the table stays small.
pub(crate) fn tidy(tx: &Transaction, now: i64) -> Result<()> {
    tx.execute(
        "DELETE FROM attempts WHERE digest IN (SELECT digest FROM attempts WHERE forgotten_at <= $1 LIMIT 20)",
        params![now],
    )?;
    Ok(())
}
