//! The changes of what serves: each is one transaction, which is the moment from which a restart serves it.

use rusqlite::{Transaction, params};

use super::{Record, RecordError};

/// One change of the active revisions.
#[derive(Debug, Default)]
pub(in crate::deploy) struct Change {
    /// Revisions that become active.
    pub(in crate::deploy) activated: Vec<Activation>,
    /// Lines of the history that end otherwise.
    pub(in crate::deploy) ended: Vec<Ended>,
    /// The canary after it, if one runs then.
    pub(in crate::deploy) canary: Option<CanaryRecord>,
}

/// A revision that becomes active.
#[derive(Debug)]
pub(in crate::deploy) struct Activation {
    pub(in crate::deploy) line: i64,
    pub(in crate::deploy) service: String,
    pub(in crate::deploy) digest: String,
    /// The digest that it really replaces, which may have changed since the line was begun.
    pub(in crate::deploy) before: Option<String>,
    /// The first line of the set that it belongs to. None if it came alone.
    pub(in crate::deploy) together: Option<i64>,
}

/// How a line of the history ends.
#[derive(Debug, Clone)]
pub(in crate::deploy) struct Ended {
    pub(in crate::deploy) line: i64,
    pub(in crate::deploy) result: &'static str,
    pub(in crate::deploy) detail: String,
}

/// A canary as a restart finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::deploy) struct CanaryRecord {
    /// Hundredths of a per cent of the callers.
    pub(in crate::deploy) share: u16,
    /// The set that is being staged, if it is one.
    pub(in crate::deploy) set: Option<String>,
    /// Service, digest and line of each revision on trial.
    pub(in crate::deploy) candidates: Vec<(String, String, i64)>,
}

/// An active revision whose watch has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::deploy) struct OnProbation {
    pub(in crate::deploy) service: String,
    /// The line that activated it.
    pub(in crate::deploy) line: i64,
    /// The digest of the revision before.
    pub(in crate::deploy) before: String,
}

impl Record {
    /// Writes a change of what serves, in one transaction: the moment from which a restart serves it. Blocks on the disk.
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
            end(&transaction, &change.ended)?;
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

    /// Ends several lines, or none of them.
    pub(in crate::deploy) fn end_all(&self, ended: &[Ended]) -> Result<(), RecordError> {
        let mut database = self.database();
        let mut write = || -> rusqlite::Result<()> {
            let transaction = database.transaction()?;
            end(&transaction, ended)?;
            transaction.commit()
        };
        write().map_err(|error| self.fail(error))
    }

    /// The canary that ran last, if none ended it.
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

    /// The active revisions whose watch has not ended: those of one set in one group, any other in a group of its own.
    pub(in crate::deploy) fn on_probation(&self) -> Result<Vec<Vec<OnProbation>>, RecordError> {
        let sql = "SELECT coalesce(together, id), service, id, before FROM history AS line
                   WHERE result = 'active' AND before IS NOT NULL AND action IN ('deploy', 'promote')
                   AND id = (SELECT max(id) FROM history WHERE service = line.service AND result IN ('active', 'kept'))
                   AND after = (SELECT digest FROM active WHERE service = line.service)
                   ORDER BY 1, 2";
        let database = self.database();
        let read = || -> rusqlite::Result<Vec<(i64, OnProbation)>> {
            let mut statement = database.prepare(sql)?;
            let row = |row: &rusqlite::Row<'_>| {
                let (service, line, before) = (row.get(1)?, row.get(2)?, row.get(3)?);
                Ok((row.get(0)?, OnProbation { service, line, before }))
            };
            statement.query_map([], row)?.collect()
        };
        let rows = read().map_err(|error| self.fail(error))?;
        let groups = rows.chunk_by(|(one, _), (other, _)| one == other);
        Ok(groups.map(|group| group.iter().map(|(_, member)| member.clone()).collect()).collect())
    }
}

fn end(transaction: &Transaction<'_>, ended: &[Ended]) -> rusqlite::Result<()> {
    for Ended { line, result, detail } in ended {
        let sql = "UPDATE history SET result = ?2, detail = ?3 WHERE id = ?1";
        transaction.execute(sql, params![line, result, detail])?;
    }
    Ok(())
}
