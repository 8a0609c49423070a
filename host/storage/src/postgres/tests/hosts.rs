//! Several hosts share one database.

use futures::future::join_all;

use super::*;

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn two_hosts_that_start_together_create_one_schema() {
    let service = service();
    let (server, other_server) = (server(), server());
    let opened = futures::future::join(server.open(&service, patient()), other_server.open(&service, patient())).await;
    let (one, other) = (opened.0.unwrap(), opened.1.unwrap());
    let list = vec![Migration { version: 1, sql: "CREATE TABLE t (x INTEGER) STRICT".into() }];
    let (ran, ran_there) = futures::future::join(one.migrate(list.clone()), other.migrate(list)).await;
    assert_eq!([ran.unwrap(), ran_there.unwrap()].concat(), [1], "only one host migrates");
    assert_eq!((one.schema_version().await, other.schema_version().await), (Ok(1), Ok(1)));
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn two_hosts_sell_each_mug_once() {
    let service = service();
    let (one, other) = (host(&service, patient()).await, host(&service, patient()).await);
    let sold =
        join_all((0..40).map(|n| if n % 2 == 0 { one.execute(sql(SELL_ONE)) } else { other.execute(sql(SELL_ONE)) }));
    assert_eq!(sold.await.into_iter().map(Result::unwrap).sum::<u64>(), 10);
    assert_eq!((stock(&one).await, stock(&other).await), (vec![Value::Integer(0)], vec![Value::Integer(0)]));
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn all_hosts_share_one_writer_which_also_protects_reads() {
    let service = service();
    let (one, other) = (host(&service, patient()).await, host(&service, patient()).await);
    let transaction = one.begin().await.unwrap();
    transaction.query(sql("SELECT stock FROM mugs")).await.unwrap();
    let mut elsewhere = Box::pin(other.execute(sql(SELL_ONE)));
    // When these queries have been answered, the server has received the write, but must not have run it.
    for _ in 0..3 {
        assert!((&mut elsewhere).now_or_never().is_none(), "another host wrote during the transaction");
        other.query(sql("SELECT stock FROM mugs")).await.unwrap();
    }
    transaction.execute(sql("UPDATE mugs SET stock = 1")).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(elsewhere.await, Ok(1));
    assert_eq!(stock(&one).await, [Value::Integer(0)]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn a_wait_for_another_hosts_writer_ends() {
    let service = service();
    let one = host(&service, patient()).await;
    let other = host(&service, PostgresConfig { longest_wait: Duration::from_millis(20), ..patient() }).await;
    let transaction = one.begin().await.unwrap();
    assert_eq!(other.execute(sql(SELL_ONE)).await, Err(StorageError::Busy));
    assert_eq!(other.begin().await.err(), Some(StorageError::Busy));
    transaction.commit().await.unwrap();
    while other.execute(sql(SELL_ONE)).await != Ok(1) {}
    assert_eq!(stock(&one).await, [Value::Integer(9)]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn a_lost_connection_rolls_back_and_frees_the_writer() {
    let service = service();
    let (one, other) = (host(&service, patient()).await, host(&service, patient()).await);
    let transaction = one.begin().await.unwrap();
    transaction.execute(sql(SELL_ONE)).await.unwrap();
    assert!(end_connections(&service).await >= 1);
    assert!(matches!(transaction.commit().await, Err(StorageError::Unavailable(_))));
    // The next calls get working connections, on both hosts.
    for storage in [&one, &other] {
        while storage.execute(sql(SELL_ONE)).await != Ok(1) {}
    }
    assert_eq!(stock(&one).await, [Value::Integer(8)]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn a_host_that_stops_during_a_transaction_frees_the_writer() {
    let service = service();
    let other = host(&service, patient()).await;
    // Its own runtime ends like a killed process: it closes nothing.
    let ended = std::thread::spawn({
        let service = service.clone();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let one = host(&service, patient()).await;
                let transaction = one.begin().await.unwrap();
                transaction.execute(sql(SELL_ONE)).await.unwrap();
                std::mem::forget(transaction);
            });
        }
    });
    ended.join().unwrap();
    assert_eq!(other.execute(sql(SELL_ONE)).await, Ok(1));
    assert_eq!(stock(&other).await, [Value::Integer(9)]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn calls_of_all_hosts_wait_longer_for_a_migration() {
    let service = service();
    // Long enough for the steps after the migration on a busy machine.
    let short = Duration::from_millis(500);
    let quick = PostgresConfig { longest_wait: short, statement_deadline: short, ..patient() };
    let (one, other) = (Arc::new(host(&service, patient()).await), host(&service, quick).await);
    let first = "CREATE TABLE mugs (id INTEGER PRIMARY KEY, stock INTEGER NOT NULL) STRICT; \
                 INSERT INTO mugs (id, stock) VALUES (1, 10)";
    // Locks the table, and then runs much longer than the other host usually waits.
    let second = "ALTER TABLE mugs ADD COLUMN price INTEGER; CREATE TABLE numbers (i INTEGER NOT NULL) STRICT; \
                  WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) \
                  INSERT INTO numbers (i) SELECT i FROM n; CREATE INDEX by_i ON numbers (i)";
    let list = [(1, first), (2, second)].map(|(version, sql)| Migration { version, sql: sql.into() });
    let migrated = tokio::spawn({
        let one = one.clone();
        async move { one.migrate(list.to_vec()).await }
    });
    while !other.0.is_migrating().await.unwrap() && !migrated.is_finished() {}
    let here = one.execute(sql(SELL_ONE));
    let (here, there, read) = tokio::join!(here, other.execute(sql(SELL_ONE)), other.query(sql("SELECT 1 FROM mugs")));
    assert_eq!((here, there), (Ok(1), Ok(1)));
    assert_eq!(read.unwrap().values(), [Value::Integer(1)]);
    assert_eq!(migrated.await.unwrap(), Ok(vec![2]));
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn a_migration_with_another_text_than_the_one_that_ran_on_another_host_is_refused() {
    let service = service();
    let (one, other) = (host(&service, patient()).await, host(&service, patient()).await);
    let list = |second: &str| {
        let first = "CREATE TABLE mugs (id INTEGER PRIMARY KEY, stock INTEGER NOT NULL) STRICT; \
                     INSERT INTO mugs (id, stock) VALUES (1, 10)";
        [(1, first), (2, second)].map(|(version, sql)| Migration { version, sql: sql.into() }).to_vec()
    };
    // A draft that fails leaves nothing behind, so it does not stand in the way of the next text.
    assert!(other.migrate(list("ALTER TABLE missing ADD COLUMN price INTEGER")).await.is_err());
    assert_eq!(one.migrate(list("ALTER TABLE mugs ADD COLUMN price INTEGER")).await, Ok(vec![2]));
    let refused = other.migrate(list("ALTER TABLE mugs ADD COLUMN cost INTEGER")).await;
    assert!(matches!(refused, Err(MigrationError::Differs { version: 2, next: 3, .. })), "{refused:?}");
    assert_eq!(other.migrate(list("ALTER TABLE mugs ADD COLUMN price INTEGER")).await, Ok(vec![]));
    let ran = other.ran_migrations().await.unwrap().unwrap();
    assert_eq!(ran[&2], Migration { version: 2, sql: "ALTER TABLE mugs ADD COLUMN price INTEGER".into() }.sha256());
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn the_server_ends_the_lease_of_a_host_that_hangs() {
    let service = service();
    let brief = PostgresConfig { transaction_lease: Duration::from_millis(100), ..patient() };
    let other = host(&service, patient()).await;
    let (hangs, hung) = std::sync::mpsc::channel::<()>();
    let hanging = std::thread::spawn({
        let service = service.clone();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let transaction = runtime.block_on(async {
                let one = host(&service, brief).await;
                let transaction = one.begin().await.unwrap();
                transaction.execute(sql(SELL_ONE)).await.unwrap();
                transaction
            });
            // Nothing runs on this runtime from here on, as in a stopped process.
            let _closed = hung.recv();
            std::mem::forget((transaction, runtime));
        }
    });
    assert_eq!(other.execute(sql(SELL_ONE)).await, Ok(1));
    assert_eq!(stock(&other).await, [Value::Integer(9)]);
    drop(hangs);
    hanging.join().unwrap();
}
