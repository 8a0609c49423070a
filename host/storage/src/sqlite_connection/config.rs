//! Limits of one SQLite database, with units and defaults.

use std::time::Duration;

/// The size of the write-ahead log from which the writer checkpoints it. In bytes.
pub(crate) const CHECKPOINT_BYTES: u64 = 4 << 20;

/// Limits on time, waiting and space of one database.
#[derive(Clone, Debug)]
pub struct SqliteConfig {
    /// How long a query may run on the caller's thread. Default 5 ms.
    ///
    /// A slower one moves to a blocking thread.
    pub inline_budget: Duration,
    /// How long a statement may run. Default 1 s.
    pub statement_deadline: Duration,
    /// How long a transaction may hold the writer after it began. Default 1 s.
    pub transaction_lease: Duration,
    /// How long a call waits for the writer or for a blocking thread. Default 2 s.
    pub longest_wait: Duration,
    /// How many calls may wait for the writer. Default 1,024.
    pub waiting_writes: usize,
    /// How many queries may run on blocking threads at once. Default 4.
    pub long_queries: usize,
    /// How many idle reading connections stay open. Default 8.
    pub idle_readers: usize,
    /// How many transactions at most share one flush. Default 64.
    pub group_size: usize,
    /// The age at which a group of transactions accepts no more members. Default 5 ms.
    pub group_window: Duration,
    /// How long one run of migrations may take. Default 60 s.
    pub migration_deadline: Duration,
    /// How long a write may wait for migrations after its arrival. Default 30 s.
    pub migration_wait: Duration,
    /// How many writes may wait for migrations.
    ///
    /// All others wait only `longest_wait`. Default 64.
    pub waiting_for_migrations: usize,
    /// How long the structure check may take when a database is opened. Default 500 ms.
    pub check_time: Duration,
    /// The maximum size of the database file, in bytes.
    ///
    /// Further writes fail like on a full disk. Default 1 GiB.
    pub database_bytes: u64,
    /// The size of the write-ahead log at which the writer insists on truncating it.
    ///
    /// In bytes. The writer then waits for readers of the log. Default 64 MiB.
    pub wal_bytes: u64,
    /// How much memory all databases of this process may use together, in bytes.
    ///
    /// Default 512 MiB.
    ///
    /// Beyond it, statements fail. SQLite has one such limit per process. The lowest one that was set applies.
    pub heap_bytes: u64,
    /// The memory use, in bytes, from which slow statements are stopped.
    ///
    /// Default 256 MiB.
    ///
    /// It counts all databases of this process. A statement is slow if it runs longer than `inline_budget`. Sorts and temporary
    /// tables grow in memory, and one large statement must not make small statements of other services fail. At three quarters of
    /// this limit, page caches release memory, so that caches alone never stop a statement.
    pub heap_bytes_of_long: u64,
    /// Limits on each statement.
    pub limits: SqliteLimits,
}

/// Limits on one statement.
///
/// Exceeding one is [`TooLarge`](crate::StorageError::TooLarge).
#[derive(Clone, Debug)]
pub struct SqliteLimits {
    /// Size of one text, blob or row, in bytes. Default 1 MiB.
    pub value_bytes: u32,
    /// Size of a statement's text, in bytes. Default 64 KiB.
    pub sql_bytes: u32,
    /// Parameters per statement. Default 1,000.
    pub parameters: u32,
    /// Columns per table or result. Default 256.
    pub columns: u32,
    /// Depth of an expression. Default 100.
    pub expression_depth: u32,
    /// Depth of the parser's stack.
    ///
    /// Limits nested subqueries, and so the thread's stack. Default 400.
    pub parser_depth: u32,
    /// Queries that UNION, INTERSECT and EXCEPT combine. Default 10.
    pub compound_select: u32,
    /// Instructions per compiled statement. Default 25,000.
    pub instructions: u32,
    /// Arguments per function. Default 32.
    pub function_arguments: u32,
    /// Function calls per statement. Default 256.
    pub functions: u32,
    /// Uses of LIKE and GLOB per statement. Default 8.
    pub patterns: u32,
    /// Size of a pattern for LIKE or GLOB, in bytes. Default 128.
    pub pattern_bytes: u32,
    /// Depth of triggers that trigger each other. Default 10.
    pub trigger_depth: u32,
    /// Rows per result. Default 10,000.
    pub result_rows: usize,
    /// Bytes per result, counted as its texts and blobs plus 16 per value. Default 4 MiB.
    pub result_bytes: usize,
}

impl Default for SqliteConfig {
    fn default() -> Self {
        Self {
            inline_budget: Duration::from_millis(5),
            statement_deadline: Duration::from_secs(1),
            transaction_lease: Duration::from_secs(1),
            longest_wait: Duration::from_secs(2),
            waiting_writes: 1_024,
            long_queries: 4,
            idle_readers: 8,
            group_size: 64,
            group_window: Duration::from_millis(5),
            migration_deadline: Duration::from_secs(60),
            migration_wait: Duration::from_secs(30),
            waiting_for_migrations: 64,
            check_time: Duration::from_millis(500),
            database_bytes: 1 << 30,
            wal_bytes: 64 << 20,
            heap_bytes: 512 << 20,
            heap_bytes_of_long: 256 << 20,
            limits: SqliteLimits::default(),
        }
    }
}

impl Default for SqliteLimits {
    fn default() -> Self {
        Self {
            value_bytes: 1 << 20,
            sql_bytes: 64 << 10,
            parameters: 1_000,
            columns: 256,
            expression_depth: 100,
            parser_depth: 400,
            compound_select: 10,
            instructions: 25_000,
            function_arguments: 32,
            functions: 256,
            patterns: 8,
            pattern_bytes: 128,
            trigger_depth: 10,
            result_rows: 10_000,
            result_bytes: 4 << 20,
        }
    }
}
