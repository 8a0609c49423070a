//! What a service can reach on the server with any SQL.

use tokio_postgres::{Client, NoTls};

use super::*;

/// A connection with a service's own role, past the dialect.
async fn log_in(service: &str) -> Client {
    let kept = "SELECT role, password FROM comptoir.logins WHERE service = $1";
    let row = operator().await.query_one(kept, &[&service]).await.unwrap();
    let mut config: tokio_postgres::Config = url().parse().unwrap();
    config.user(row.get::<_, &str>(0)).password(row.get::<_, &str>(1));
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    client
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn a_services_role_reaches_only_its_own_schema() {
    let (mine, theirs) = (service(), service());
    let (_mine, _theirs) = (host(&mine, patient()).await, host(&theirs, patient()).await);
    let role = log_in(&mine).await;
    role.query(&format!("SELECT * FROM service_{mine}.mugs"), &[]).await.unwrap();
    for statement in [
        format!("SELECT * FROM service_{theirs}.mugs"),
        format!("DROP SCHEMA service_{theirs} CASCADE"),
        "SELECT * FROM comptoir.logins".to_owned(),
        "SELECT rolpassword FROM pg_authid".to_owned(),
        "CREATE SCHEMA more".to_owned(),
        "CREATE ROLE more".to_owned(),
        "SELECT pg_read_file('PG_VERSION')".to_owned(),
        "COPY (SELECT 1) TO PROGRAM 'true'".to_owned(),
        format!("SET ROLE (SELECT role FROM comptoir.logins WHERE service = '{theirs}')"),
        "ALTER SYSTEM SET fsync = off".to_owned(),
    ] {
        assert!(role.batch_execute(&statement).await.is_err(), "{statement}");
    }
    let superuser: bool =
        role.query_one("SELECT rolsuper FROM pg_roles WHERE rolname = current_user", &[]).await.unwrap().get(0);
    assert!(!superuser);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn sql_unknown_to_sqlite_never_reaches_the_server() {
    let shop = host(&service(), patient()).await;
    for text in [
        "SELECT pg_sleep(10)",
        "SELECT set_config('statement_timeout', '0', false)",
        "SELECT current_setting('server_version')",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_terminate_backend(1)",
        "SELECT now()",
        "SELECT current_user",
        "SELECT CURRENT_TIMESTAMP",
        "SELECT gen_random_uuid()",
        "SELECT pg_notify('a', 'b')",
        "SELECT CAST(\"subquery 1\" AS TEXT) FROM (SELECT 1 AS a, 2 AS b)",
        "SELECT mugs FROM mugs",
        "SELECT mugs.row_to_json FROM mugs",
        "INSERT INTO mugs (id, stock) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET stock = length(CAST(excluded AS TEXT))",
        "SELECT lo_create(0)",
        "SELECT * FROM pg_class",
        "SELECT * FROM pg_catalog.pg_class",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM comptoir_migrations",
        "DELETE FROM comptoir_migrations",
        "SELECT * FROM comptoir.logins",
        "SELECT * FROM generate_series(1, 10)",
        "SELECT 'pg_class'::regclass",
        "SELECT xmin FROM mugs",
        "SELECT * FROM mugs FOR UPDATE",
        "SELECT stock INTO other FROM mugs",
        "WITH gone AS (DELETE FROM mugs RETURNING id) SELECT * FROM gone",
        "SET statement_timeout = 0",
        "RESET ALL",
        "SHOW ALL",
        "LISTEN a",
        "COPY mugs TO STDOUT",
        "LOCK TABLE mugs",
        "DO $$ BEGIN END $$",
        "CALL p()",
        "TRUNCATE mugs",
        "MERGE INTO mugs USING mugs AS m ON false WHEN NOT MATCHED THEN DO NOTHING",
    ] {
        let refused = shop.query(sql(text)).await;
        assert!(matches!(refused, Err(StorageError::Denied(_) | StorageError::Invalid(_))), "{text}: {refused:?}");
    }
    assert_eq!(stock(&shop).await, [Value::Integer(10)]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn new_statements_do_not_fill_the_servers_memory() {
    let shop = host(&service(), patient()).await;
    for number in 0..300 {
        shop.query(sql(&format!("SELECT {number}"))).await.unwrap();
        // The host does not keep a compiled statement this long, so it compiles the statement each time.
        let long = format!("SELECT 1 WHERE {number} IN (1{})", ",1".repeat(3_000));
        if number % 50 == 0 {
            shop.query(sql(&long)).await.unwrap();
        }
    }
    let session = shop.0.lend(&shop.0.reader).await.unwrap();
    let compiled = session.value::<i64>("SELECT count(*) FROM pg_prepared_statements").await.unwrap();
    assert!(compiled < 256, "{compiled} compiled statements");
    let longest =
        session.value::<i64>("SELECT max(length(statement))::bigint FROM pg_prepared_statements").await.unwrap();
    assert!(longest < 8_192, "a compiled statement has {longest} bytes");
}
