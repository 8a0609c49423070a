//! Several hosts on one database.
//! After at most one reload they accept and refuse the same tokens.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::{BoxFuture, join_all};
use storage::read_set::ReadSet;
use storage::sqlite::{SqliteConfig, SqliteStorage};
use storage::{
    Migration, MigrationError, NotAdditive, Rows, Statement, StorageError, Table, Transaction, Usage, Value as SqlValue,
};

use super::*;
use crate::tokens::keys::{LEAD_SECONDS, OVERLAP_SECONDS, RETENTION_SECONDS};

struct Shop {
    folder: TempDir,
    storage: Arc<Failing>,
    clock: Clock,
}

impl Shop {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let storage = SqliteStorage::open(folder.path().join("hosts.db"), SqliteConfig::default()).unwrap();
        let storage = Arc::new(Failing { storage, fails: AtomicBool::new(false) });
        Self { folder, storage, clock: Clock::default() }
    }

    async fn host(&self) -> Tokens {
        Tokens::open_shared(self.storage.clone(), self.clock.clone()).await.unwrap()
    }

    async fn hosts(&self) -> (Tokens, Tokens) {
        (self.host().await, self.host().await)
    }

    /// Reads a value from the database file with a connection of its own.
    fn read<T: rusqlite::types::FromSql>(&self, sql: &str) -> T {
        let file = rusqlite::Connection::open(self.folder.path().join("hosts.db")).unwrap();
        file.query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

/// A database that fails on demand.
struct Failing {
    storage: SqliteStorage,
    fails: AtomicBool,
}

impl Failing {
    fn check(&self) -> Result<(), StorageError> {
        let fails = self.fails.load(Ordering::Relaxed);
        if fails { Err(StorageError::Unavailable("the cable is out".to_owned())) } else { Ok(()) }
    }
}

impl Storage for Failing {
    fn read(&self, statement: Statement) -> BoxFuture<'_, Result<(Rows, Option<ReadSet>), StorageError>> {
        Box::pin(async move {
            self.check()?;
            self.storage.read(statement).await
        })
    }

    fn execute(&self, statement: Statement) -> BoxFuture<'_, Result<u64, StorageError>> {
        Box::pin(async move {
            self.check()?;
            self.storage.execute(statement).await
        })
    }

    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Transaction>, StorageError>> {
        self.storage.begin()
    }

    fn migrate(&self, migrations: Vec<Migration>) -> BoxFuture<'_, Result<Vec<u32>, MigrationError>> {
        Box::pin(async move {
            self.check()?;
            self.storage.migrate(migrations).await
        })
    }

    fn check_additive(&self, migrations: Vec<Migration>) -> BoxFuture<'_, Result<(), NotAdditive>> {
        self.storage.check_additive(migrations)
    }

    fn tables(&self) -> BoxFuture<'_, Result<Vec<Table>, StorageError>> {
        self.storage.tables()
    }

    fn schema_version(&self) -> BoxFuture<'_, Result<u32, StorageError>> {
        self.storage.schema_version()
    }

    fn usage(&self) -> &Usage {
        self.storage.usage()
    }
}

fn issue(tokens: &Tokens) -> String {
    tokens.issue("ada", "user", "s1").unwrap().token
}

fn kid(tokens: &Tokens) -> String {
    part(&issue(tokens), 0)["kid"].as_str().unwrap().to_owned()
}

fn newest(tokens: &Tokens) -> String {
    tokens.keys().remove(0).id
}

#[tokio::test]
async fn hosts_that_open_at_once_share_one_key() {
    let shop = Shop::new();
    let hosts = join_all((0..4).map(|_| shop.host())).await;
    for (one, other) in hosts.iter().zip(&hosts[1..]) {
        assert_eq!((one.keys(), kid(one)), (other.keys(), kid(other)));
        assert!(one.verify(&issue(other)).is_some() && other.verify(&issue(one)).is_some());
    }
    let secret: Vec<u8> = shop.read("SELECT secret FROM signing_keys");
    let shown = format!("{:?}", hosts[0]);
    assert!(secret.len() == 32 && !shown.contains(format!("{:?}", &secret[..3]).trim_matches(['[', ']'])), "{shown}");
}

#[tokio::test]
async fn a_session_that_ended_on_one_host_is_refused_by_the_other_after_a_reload() {
    let shop = Shop::new();
    let (here, there) = shop.hosts().await;
    let token = issue(&here);
    here.revoke("s1").await.unwrap();
    assert!(here.verify(&token).is_none() && there.verify(&token).is_some());
    there.reload().await.unwrap();
    assert!(there.verify(&token).is_none() && shop.host().await.verify(&token).is_none());

    // The second end gets a new number. The reload also reads more rows than fit on one page.
    here.revoke("s1").await.unwrap();
    let many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
        INSERT INTO ended_sessions SELECT 'many ' || i, $1, i + 2 FROM n";
    let until = i64::try_from(shop.clock.unix_seconds() + REMEMBERED_SECONDS).unwrap();
    shop.storage.execute(Statement::new(many, [SqlValue::Integer(until)])).await.unwrap();
    there.reload().await.unwrap();
    for host in [there, shop.host().await] {
        assert!((1..=2500).all(|number| host.revocations.contains(&format!("many {number}"))));
    }
}

#[tokio::test]
async fn reload_forever_loads_changes_and_returns_at_once_for_a_folder() {
    let shop = Shop::new();
    let (here, there) = shop.hosts().await;
    let (there, token) = (Arc::new(there), issue(&here));
    here.revoke("s1").await.unwrap();
    let reloading = tokio::spawn(there.clone().reload_forever());
    while there.verify(&token).is_some() {
        tokio::task::yield_now().await;
    }
    reloading.abort();
    let folder = TempDir::new().unwrap();
    Arc::new(open(folder.path(), &shop.clock)).reload_forever().await;
}

#[tokio::test]
async fn every_host_loads_a_new_key_before_it_signs() {
    let shop = Shop::new();
    let (here, there) = shop.hosts().await;
    let first = newest(&here);
    here.rotate_keys().await.unwrap();
    let second = newest(&here);
    // Turn the clock back, so that the new key does not sign yet, even if the test is slow.
    shop.clock.shift(-50);
    there.reload().await.unwrap();
    let later = shop.host().await;
    let old = issue(&here);
    for host in [&here, &there, &later] {
        assert_eq!((host.keys(), kid(host)), (here.keys(), first.clone()));
    }
    shop.clock.shift(50 + i64::try_from(LEAD_SECONDS).unwrap());
    for host in [&here, &there, &later] {
        assert_eq!(kid(host), second);
        assert!(host.verify(&issue(&here)).is_some() && host.verify(&old).is_some());
    }
    shop.clock.shift(3500);
    assert!([&here, &there, &later].iter().all(|host| host.verify(&old).is_some()));

    // Two hosts that rotate without a reload between them create two keys.
    here.rotate_keys().await.unwrap();
    there.rotate_keys().await.unwrap();
    here.reload().await.unwrap();
    assert_eq!((here.keys(), here.keys().len()), (there.keys(), 4));
}

#[tokio::test]
async fn a_key_that_one_host_disables_is_refused_by_the_other_after_a_reload() {
    for rotated in [false, true] {
        let shop = Shop::new();
        let (here, there) = shop.hosts().await;
        let (first, leaked) = (newest(&here), issue(&here));
        let session = Session::of(&there.verify(&leaked).unwrap(), &Arc::new(shop.host().await));
        if rotated {
            here.rotate_keys().await.unwrap();
            shop.clock.shift(-50);
        }
        here.disable_key(&first).await.unwrap();
        let new = issue(&here);
        assert!(here.verify(&leaked).is_none() && here.verify(&new).is_some());
        assert!(there.verify(&leaked).is_some() && there.verify(&new).is_none());
        there.reload().await.unwrap();
        session.tokens.reload().await.unwrap();
        assert!(session.has_ended());
        for host in [&here, &there, &shop.host().await] {
            assert!(host.verify(&leaked).is_none() && host.verify(&new).is_some());
            assert_eq!((kid(host), host.keys().len()), (newest(&here), 1));
        }
        assert_eq!(there.disable_key(&first).await, Err(KeyChangeError::Unknown(first)));
        assert_eq!(shop.read::<i64>("SELECT count(*) FROM signing_keys"), 1);
    }
}

#[tokio::test]
async fn a_key_that_is_disabled_before_it_signs_is_replaced() {
    let shop = Shop::new();
    let (here, there) = shop.hosts().await;
    let first = newest(&here);
    here.rotate_keys().await.unwrap();
    let (waiting, until) = (newest(&here), here.keys()[1].until);
    shop.clock.shift(-50);
    there.reload().await.unwrap();
    there.disable_key(&waiting).await.unwrap();
    here.reload().await.unwrap();
    for host in [&here, &there, &shop.host().await] {
        assert_eq!((kid(host), host.keys().len(), host.keys()[1].until), (first.clone(), 2, until));
        assert_ne!(newest(host), waiting);
    }
    shop.clock.shift(60);
    assert_eq!((kid(&here), kid(&there)), (newest(&here), newest(&here)));
}

#[tokio::test]
async fn a_host_keeps_its_keys_and_sessions_while_the_database_fails() {
    let shop = Shop::new();
    let (here, there) = shop.hosts().await;
    let (keys, leaked) = (here.keys(), issue(&here));
    let other = here.issue("ada", "user", "s2").unwrap().token;
    shop.storage.fails.store(true, Ordering::Relaxed);
    let expected = "cannot read the ended sessions in the database that the hosts share: the database is unavailable: the \
                    cable is out. Check that this host can reach the database, and that only hosts write to it";
    assert_eq!(here.reload().await.unwrap_err().to_string(), expected);
    let opened = Tokens::open_shared(shop.storage.clone(), shop.clock.clone()).await;
    assert!(matches!(opened, Err(TokensError::Shared { .. })));
    assert!(matches!(here.rotate_keys().await, Err(KeyChangeError::NotMade(_))));
    assert!(here.keys() == keys && here.verify(&leaked).is_some());
    assert!(matches!(here.revoke("s2").await, Err(RevokeError::Unavailable(_))));
    assert!(matches!(here.disable_key(&keys[0].id).await, Err(KeyChangeError::NotShared(_))));

    // After the database answers again, this host still refuses both tokens. The other host does not know about them.
    shop.storage.fails.store(false, Ordering::Relaxed);
    for host in [&here, &there] {
        host.reload().await.unwrap();
    }
    let refused = |host: &Tokens| [&leaked, &other].map(|token| host.verify(token).is_none());
    assert_eq!((refused(&here), refused(&there)), ([true, true], [false, false]));
    let new = issue(&here);
    assert!(here.verify(&new).is_some());
    here.disable_key(&keys[0].id).await.unwrap();
    here.revoke("s2").await.unwrap();
    there.reload().await.unwrap();
    assert!(refused(&there) == [true, true] && there.verify(&new).is_some() && there.keys() == here.keys());
}

#[tokio::test]
async fn missing_and_damaged_keys_are_errors_and_change_nothing() {
    let shop = Shop::new();
    let host = shop.host().await;
    let keys = host.keys();
    for (damage, expected) in [
        ("UPDATE signing_keys SET secret = NULL", "is not 32 bytes long"),
        ("DELETE FROM signing_keys", "the table of keys is empty"),
    ] {
        shop.storage.execute(Statement::new(damage, [])).await.unwrap();
        let error = host.reload().await.unwrap_err().to_string();
        assert!(error.contains(expected) && host.keys() == keys, "{error}");
    }
}

#[tokio::test]
async fn expired_keys_and_sessions_leave_memory_and_tables() {
    let shop = Shop::new();
    let (here, there) = shop.hosts().await;
    here.rotate_keys().await.unwrap();
    for session in ["s1", "s2"] {
        here.revoke(session).await.unwrap();
    }
    there.reload().await.unwrap();
    assert!(there.revocations.contains("s1") && there.revocations.contains("s2"));
    shop.clock.shift(i64::try_from(REMEMBERED_SECONDS + OVERLAP_SECONDS + RETENTION_SECONDS).unwrap());
    for host in [&here, &there] {
        host.reload().await.unwrap();
        assert!(!host.revocations.contains("s1") && !host.revocations.contains("s2"));
    }
    let counts =
        "SELECT (SELECT count(*) FROM signing_keys) || ' ' || (SELECT group_concat(session) FROM ended_sessions)";
    assert_eq!(shop.read::<String>(counts), "1 s2", "the newest row stays, because its number must not be used again");
    here.revoke("s3").await.unwrap();
    there.reload().await.unwrap();
    let opened = shop.host().await;
    for host in [&there, &opened] {
        assert!(host.revocations.contains("s3") && !host.revocations.contains("s2"));
    }
    assert_eq!(opened.keys(), here.keys(), "the host creates no second first key");
}
