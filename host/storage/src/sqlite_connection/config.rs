//! What an operator may set about a database, with its units and defaults.

use std::time::Duration;

/// After a group, the writer moves a write-ahead log of this size or more into the database file. In bytes.
pub(crate) const CHECKPOINT_BYTES: u64 = 4 << 20;

/// Bounds on time, waiting and space of one database.
#[derive(Clone, Debug)]
pub struct SqliteConfig {
    /// How long a query may run on the thread that called it before it moves to another. Default 5 ms.
    pub inline_budget: Duration,
    /// How long any statement may run. Default 1 s.
    pub statement_deadline: Duration,
    /// How long a transaction may hold the writer, counted from its beginning. Default 1 s.
    pub transaction_lease: Duration,
    /// How long a call waits for the writer, or for a place among the long queries. Default 2 s.
    pub longest_wait: Duration,
    /// How many calls may wait for the writer. Default 1,024.
    pub waiting_writes: usize,
    /// How many queries may run away from their callers' threads at a time. Default 4.
    pub long_queries: usize,
    /// How many idle reading connections are kept. Default 8.
    pub idle_readers: usize,
    /// How many transactions share one sync at most. Default 64.
    pub group_size: usize,
    /// How old a group of transactions may get before no other joins it. Default 5 ms.
    pub group_window: Duration,
    /// How long one run of migrations may take. Default 60 s.
    pub migration_deadline: Duration,
    /// How long a write waits for migrations to end, counted from its beginning. Default 30 s.
    pub migration_wait: Duration,
    /// How many writes wait for migrations; any other waits for the writer as long as ever. Default 64.
    pub waiting_for_migrations: usize,
    /// How long the check of the structure may take when a database is opened. Default 500 ms.
    pub check_time: Duration,
    /// The size of the database file at most, in bytes; writes beyond it fail as on a full disk. Default 1 GiB.
    pub database_bytes: u64,
    /// The size of the write-ahead log, in bytes, at which the writer waits for readers to let it begin anew. Default 64 MiB.
    pub wal_bytes: u64,
    /// What SQLite may allocate in this process, all databases together, in bytes. Default 512 MiB.
    ///
    /// At the whole, statements fail. SQLite keeps one number for the process, and the lowest one set holds.
    pub heap_bytes: u64,
    /// The same, from which on a statement is stopped that runs longer than `inline_budget`: sorts and temporary tables grow in
    /// memory, and one large statement must not make the small ones of other services fail. From three quarters of it on, page
    /// caches give memory back, so that they alone stop no statement. Default 256 MiB.
    pub heap_bytes_of_long: u64,
    /// Bounds on each statement.
    pub limits: SqliteLimits,
}

/// Bounds on one statement. Beyond one of them it is [`TooLarge`](crate::StorageError::TooLarge).
#[derive(Clone, Debug)]
pub struct SqliteLimits {
    /// One text, blob or row, in bytes. Default 1 MiB.
    pub value_bytes: u32,
    /// The text of a statement, in bytes. Default 64 KiB.
    pub sql_bytes: u32,
    /// Parameters of a statement. Default 1,000.
    pub parameters: u32,
    /// Columns of a table or a result. Default 256.
    pub columns: u32,
    /// Depth of an expression. Default 100.
    pub expression_depth: u32,
    /// Depth of the parser's stack, which bounds nested subqueries and with them the thread's stack. Default 400.
    pub parser_depth: u32,
    /// Parts of a UNION, INTERSECT or EXCEPT. Default 10.
    pub compound_select: u32,
    /// Instructions of a compiled statement. Default 25,000.
    pub instructions: u32,
    /// Arguments of a function. Default 32.
    pub function_arguments: u32,
    /// Calls of functions in a statement. Default 256.
    pub functions: u32,
    /// LIKE and GLOB in a statement. Default 8.
    pub patterns: u32,
    /// The pattern of a LIKE or GLOB, in bytes. Default 128.
    pub pattern_bytes: u32,
    /// Triggers that set off one another. Default 10.
    pub trigger_depth: u32,
    /// Rows of a result. Default 10,000.
    pub result_rows: usize,
    /// A result in bytes: the length of its texts and blobs, and 16 for each value. Default 4 MiB.
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
