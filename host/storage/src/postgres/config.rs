//! Limits of one schema in PostgreSQL, with units and defaults.

use std::time::Duration;

/// Limits on time and waiting for one service's schema.
///
/// PostgreSQL cannot limit its size.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// How long a statement may run. Default 1 s.
    pub statement_deadline: Duration,
    /// How long a transaction may hold the writer after it began. Default 1 s.
    pub transaction_lease: Duration,
    /// How long a call waits for a connection or for another host's writer. Default 2 s.
    pub longest_wait: Duration,
    /// How many calls of this host may wait for the writer. Default 1,024.
    pub waiting_writes: usize,
    /// How many connections of this host read at once.
    ///
    /// One more connection writes. Default 8.
    pub readers: usize,
    /// How long one run of migrations may take. Default 60 s.
    pub migration_deadline: Duration,
    /// How long a call may wait for migrations after its arrival. Default 30 s.
    pub migration_wait: Duration,
    /// How many calls may wait for migrations.
    ///
    /// All others wait only `longest_wait`. Default 64.
    pub waiting_for_migrations: usize,
    /// Limits on each statement.
    pub limits: PostgresLimits,
}

/// Limits on one statement.
///
/// Exceeding one is [`TooLarge`](crate::StorageError::TooLarge).
#[derive(Clone, Debug)]
pub struct PostgresLimits {
    /// Size of one text or blob, in bytes. Default 1 MiB.
    pub value_bytes: usize,
    /// Size of a statement's text, in bytes. Default 64 KiB.
    pub sql_bytes: usize,
    /// Parameters per statement. Default 1,000.
    pub parameters: usize,
    /// Function calls per statement. Default 256.
    pub functions: usize,
    /// Rows per result. Default 10,000.
    pub result_rows: usize,
    /// Bytes per result, counted as its texts and blobs plus 16 per value. Default 4 MiB.
    pub result_bytes: usize,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            statement_deadline: Duration::from_secs(1),
            transaction_lease: Duration::from_secs(1),
            longest_wait: Duration::from_secs(2),
            waiting_writes: 1_024,
            readers: 8,
            migration_deadline: Duration::from_secs(60),
            migration_wait: Duration::from_secs(30),
            waiting_for_migrations: 64,
            limits: PostgresLimits::default(),
        }
    }
}

impl Default for PostgresLimits {
    fn default() -> Self {
        Self {
            value_bytes: 1 << 20,
            sql_bytes: 64 << 10,
            parameters: 1_000,
            functions: 256,
            result_rows: 10_000,
            result_bytes: 4 << 20,
        }
    }
}
