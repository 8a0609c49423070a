//! Changes of the active revisions. Each is one transaction: from its commit on, a restart serves the new revisions.

use rusqlite::{Transaction, params};

use super::{Record, RecordError};

/// One change of the active revisions.
#[derive(Debug, Default)]
pub(in crate::deploy) struct Change {
    /// Revisions that become active.
    pub(in crate::deploy) activated: Vec<Activation>,
    /// Results for lines of the history that this change ends or overrides.
    pub(in crate::deploy) outcomes: Vec<Outcome>,
    /// The canary that runs after the change, if any.
    pub(in crate::deploy) canary: Option<CanaryRecord>,
}

/// A revision that becomes active.
#[derive(Debug)]
pub(in crate::deploy) struct Activation {
    pub(in crate::deploy) line: i64,
    pub(in crate::deploy) service: String,
    pub(in crate::deploy) digest: String,
    /// The digest that it replaces. It may differ from the one in the history line, because another deploy may have come between.
    pub(in crate::deploy) before: Option<String>,
    /// The first history line of the set that it belongs to. None if it is not part of a set.
    pub(in crate::deploy) together: Option<i64>,
}

/// The result of a history line: the second half of an [`Attempt`](super::Attempt).
#[derive(Debug, Clone)]
pub(in crate::deploy) struct Outcome {
    pub(in crate::deploy) line: i64,
    pub(in crate::deploy) result: &'static str,
    pub(in crate::deploy) detail: String,
}

/// The running canary, as a restart reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::deploy) struct CanaryRecord {
    /// Its share of the callers, in hundredths of a per cent.
    pub(in crate::deploy) share: u16,
    /// The name of the set, if the canary is one.
    pub(in crate::deploy) set: Option<String>,
    /// Service, digest and history line of each candidate.
    pub(in crate::deploy) candidates: Vec<(String, String, i64)>,
}

/// An active revision whose watch has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::deploy) struct Watched {
    pub(in crate::deploy) service: String,
    /// The history line that activated it.
    pub(in crate::deploy) line: i64,
    /// The digest of the previous revision.
    pub(in crate::deploy) before: String,
}

impl Record {
    /// Writes a change in one transaction. From then on a restart serves the new revisions. Blocks on the disk.
    pub(in crate::deploy) fn commit(&self, change: &Change) -> Result<(), RecordError> {
        let mut database = self.database();
        let mut write = || -> rusqlite::Result<()> {
            let transaction = database.transaction()?;
            for Activation { line, service, digest, before, together } in &change.activated {
                transaction.execute(
                    "INSERT INTO active (service, digest) VALUES (?1, ?2) ON CONFLICT (service) DO UPDATE SET digest = ?2",
                    [service, digest],
                )?;
                let sql = "UPDATE history SET result = 'active', before = ?2, together = ?3 WHERE id = ?1";
                transaction.execute(sql, params![line, before, together])?;
            }
            end(&transaction, &change.outcomes)?;
            transaction.execute("DELETE FROM canary", [])?;
            if let Some(CanaryRecord { share, set, candidates }) = &change.canary {
                for (service, digest, line) in candidates {
                    let sql = "INSERT INTO canary (service, digest, line, share, set_name) VALUES (?1, ?2, ?3, ?4, ?5)";
                    transaction.execute(sql, params![service, digest, line, share, set])?;
                }
            }
            transaction.commit()
        };
        write().map_err(|error| self.fail(error))
    }

    /// Sets the results of several history lines: of all, or of none if it fails.
    pub(in crate::deploy) fn end_all(&self, outcomes: &[Outcome]) -> Result<(), RecordError> {
        let mut database = self.database();
        let mut write = || -> rusqlite::Result<()> {
            let transaction = database.transaction()?;
            end(&transaction, outcomes)?;
            transaction.commit()
        };
        write().map_err(|error| self.fail(error))
    }

    /// The canary that is running, or was running when the host stopped.
    pub(in crate::deploy) fn canary(&self) -> Result<Option<CanaryRecord>, RecordError> {
        type Row = (String, String, i64, u16, Option<String>);
        let database = self.database();
        let read = || -> rusqlite::Result<Vec<Row>> {
            let sql = "SELECT service, digest, line, share, set_name FROM canary ORDER BY service";
            let mut statement = database.prepare(sql)?;
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
            statement.query_map([], row)?.collect()
        };
        let rows = read().map_err(|error| self.fail(error))?;
        let first = rows.first().map(|(.., share, set)| (*share, set.clone()));
        let candidates = rows.into_iter().map(|(service, digest, line, ..)| (service, digest, line)).collect();
        Ok(first.map(|(share, set)| CanaryRecord { share, set, candidates }))
    }

    /// The active revisions whose watch has not ended. The members of a set form one group. Every other revision is a group of its own.
    pub(in crate::deploy) fn watched(&self) -> Result<Vec<Vec<Watched>>, RecordError> {
        let sql = "SELECT coalesce(together, id), service, id, before FROM history AS line
                   WHERE result = 'active' AND before IS NOT NULL AND action IN ('deploy', 'promote')
                   AND id = (SELECT max(id) FROM history WHERE service = line.service AND result IN ('active', 'kept'))
                   AND after = (SELECT digest FROM active WHERE service = line.service)
                   ORDER BY 1, 2";
        let database = self.database();
        let read = || -> rusqlite::Result<Vec<(i64, Watched)>> {
            let mut statement = database.prepare(sql)?;
            let row = |row: &rusqlite::Row<'_>| {
                let (service, line, before) = (row.get(1)?, row.get(2)?, row.get(3)?);
                Ok((row.get(0)?, Watched { service, line, before }))
            };
            statement.query_map([], row)?.collect()
        };
        let rows = read().map_err(|error| self.fail(error))?;
        let groups = rows.chunk_by(|(one, _), (other, _)| one == other);
        Ok(groups.map(|group| group.iter().map(|(_, member)| member.clone()).collect()).collect())
    }
}

fn end(transaction: &Transaction<'_>, outcomes: &[Outcome]) -> rusqlite::Result<()> {
    for Outcome { line, result, detail } in outcomes {
        let sql = "UPDATE history SET result = ?2, detail = ?3 WHERE id = ?1";
        transaction.execute(sql, params![line, result, detail])?;
    }
    Ok(())
}
