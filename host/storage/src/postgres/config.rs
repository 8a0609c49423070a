//! What an operator may set about a database, with its units and defaults.

use std::time::Duration;

/// Bounds on time, waiting and space of one service's schema. PostgreSQL has no bound on the size of one.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// How long any statement may run. Default 1 s.
    pub statement_deadline: Duration,
    /// How long a transaction may hold the writer, counted from its beginning. Default 1 s.
    pub transaction_lease: Duration,
    /// How long a call waits for a connection, and then for the writer of another host. Default 2 s.
    pub longest_wait: Duration,
    /// How many calls of this host may wait for the writer. Default 1,024.
    pub waiting_writes: usize,
    /// How many connections of this host read at a time. One more writes. Default 8.
    pub readers: usize,
    /// How long one run of migrations may take. Default 60 s.
    pub migration_deadline: Duration,
    /// How long a call waits for migrations to end, counted from its beginning. Default 30 s.
    pub migration_wait: Duration,
    /// How many calls wait for migrations; any other waits as long as ever. Default 64.
    pub waiting_for_migrations: usize,
    /// Bounds on each statement.
    pub limits: PostgresLimits,
}

/// Bounds on one statement. Beyond one of them it is [`TooLarge`](crate::StorageError::TooLarge).
#[derive(Clone, Debug)]
pub struct PostgresLimits {
    /// One text or blob, in bytes. Default 1 MiB.
    pub value_bytes: usize,
    /// The text of a statement, in bytes. Default 64 KiB.
    pub sql_bytes: usize,
    /// Parameters of a statement. Default 1,000.
    pub parameters: usize,
    /// Calls of functions in a statement. Default 256.
    pub functions: usize,
    /// Rows of a result. Default 10,000.
    pub result_rows: usize,
    /// A result in bytes: the length of its texts and blobs, and 16 for each value. Default 4 MiB.
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
