//! Connecting to the server, and creating roles and schemas.

use super::*;

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn every_connection_has_all_timeouts() {
    let config = PostgresConfig { statement_deadline: Duration::from_millis(1_500), ..PostgresConfig::default() };
    let shop = host(&service(), config).await;
    for (pool, only_reads) in [(&shop.0.reader, "on"), (&shop.0.writer, "off")] {
        let client = pool.get().await.unwrap();
        for (setting, value) in [
            ("statement_timeout", "1500ms"),
            ("lock_timeout", "2s"),
            ("idle_in_transaction_session_timeout", "1250ms"),
            ("client_connection_check_interval", "100ms"),
            ("default_transaction_read_only", only_reads),
            ("default_transaction_isolation", "read committed"),
            ("synchronous_commit", "on"),
            ("standard_conforming_strings", "on"),
        ] {
            let set: String = client.query_one(&format!("SHOW {setting}"), &[]).await.unwrap().get(0);
            assert_eq!(set, value, "{setting}");
        }
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn a_role_that_no_host_created_is_not_used() {
    let (service, operator) = (service(), operator().await);
    let database: String = operator.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0);
    let role = format!("comptoir_{database}_{service}");
    operator.batch_execute(&format!("CREATE ROLE \"{role}\"")).await.unwrap();
    let refused = server().open(&service, patient()).await.err().unwrap();
    assert!(matches!(&refused, ServerError::Taken(taken) if *taken == role), "{refused}");
    operator.batch_execute(&format!("DROP ROLE \"{role}\"")).await.unwrap();
    server().open(&service, patient()).await.unwrap();
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn the_error_names_a_missing_role() {
    let (service, operator) = (service(), operator().await);
    drop(host(&service, patient()).await);
    let kept = "SELECT role FROM comptoir.logins WHERE service = $1";
    let role: String = operator.query_one(kept, &[&service]).await.unwrap().get(0);
    // The state after only the database was restored on another server.
    let gone = format!("REASSIGN OWNED BY \"{role}\" TO CURRENT_USER; DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\"");
    operator.batch_execute(&gone).await.unwrap();
    let refused = server().open(&service, patient()).await.err().unwrap();
    assert!(matches!(&refused, ServerError::Missing(missing) if *missing == role), "{refused}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn a_dropped_schema_is_not_created_again() {
    let service = service();
    drop(host(&service, patient()).await);
    operator().await.batch_execute(&format!("DROP SCHEMA service_{service} CASCADE")).await.unwrap();
    let refused = server().open(&service, patient()).await.err().unwrap();
    assert!(matches!(refused, ServerError::Emptied(_)), "{refused}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn settings_of_the_server_do_not_affect_a_service() {
    let (service, operator) = (service(), operator().await);
    drop(host(&service, patient()).await);
    let role: String =
        operator.query_one("SELECT role FROM comptoir.logins WHERE service = $1", &[&service]).await.unwrap().get(0);
    for setting in ["standard_conforming_strings = off", "backslash_quote = on", "statement_timeout = 0"] {
        operator.batch_execute(&format!("ALTER ROLE \"{role}\" SET {setting}")).await.unwrap();
    }
    let shop = host(&service, patient()).await;
    let escape = r"SELECT '\' AS a, ', (SELECT current_user::text) -- ' AS b";
    let read = shop.query(sql(escape)).await.unwrap().values();
    assert_eq!(read, [Value::Text("\\".into()), Value::Text(", (SELECT current_user::text) -- ".into())]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn an_authority_enforces_tls_and_refuses_unknown_servers() {
    let authority = std::env::var("COMPTOIR_TEST_POSTGRES_AUTHORITY").expect("`just test-postgres` creates it");
    let service = service();
    let server = PostgresServer::new(&url(), Some(Path::new(&authority))).unwrap();
    let shop = server.open(&service, patient()).await.unwrap();
    assert_eq!(shop.schema_version().await, Ok(0));
    let asked = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = $1";
    let connections = operator().await.query(asked, &[&format!("comptoir {service}")]).await.unwrap();
    assert!(!connections.is_empty() && connections.iter().all(|connection| connection.get(0)));

    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, other.cert.pem()).unwrap();
    let elsewhere = url().replace("@127.0.0.1:", "@localhost:");
    for (url, authority) in [(url(), file.path()), (elsewhere, Path::new(&authority))] {
        let refused =
            PostgresServer::new(&url, Some(authority)).unwrap().open(&service, patient()).await.err().unwrap();
        assert!(refused.to_string().contains("invalid peer certificate"), "{refused}");
        assert!(!refused.is_temporary(), "waiting does not change a certificate");
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn waiting_helps_if_the_server_is_down_but_not_if_it_refuses_the_password() {
    let refused = PostgresServer::new(&url().replace("postgres://comptoir:", "postgres://comptoir:not"), None).unwrap();
    let refused = refused.open(&service(), patient()).await.err().unwrap();
    assert!(!refused.is_temporary(), "{refused}");
    // The port was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let down = PostgresServer::new(&format!("postgres://c:secret@127.0.0.1:{port}/shop"), None).unwrap();
    let unreachable = down.open(&service(), patient()).await.err().unwrap();
    assert!(unreachable.is_temporary(), "{unreachable}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn the_error_contains_the_sql_that_gives_the_missing_rights() {
    let (service, operator) = (service(), operator().await);
    let (role, database) = (format!("poor_{service}"), format!("db_{service}"));
    operator.batch_execute(&format!("CREATE ROLE \"{role}\" LOGIN PASSWORD 'poor'")).await.unwrap();
    operator.batch_execute(&format!("CREATE DATABASE \"{database}\"")).await.unwrap();
    let address = url().rsplit_once('@').unwrap().1.rsplit_once('/').unwrap().0.to_owned();
    let poor = PostgresServer::new(&format!("postgres://{role}:poor@{address}/{database}"), None).unwrap();
    let refused = poor.open(&service, patient()).await.err().unwrap().to_string();
    let wanted = format!("ALTER ROLE \"{role}\" CREATEROLE; GRANT CREATE ON DATABASE \"{database}\" TO \"{role}\";");
    let (_, sql) = refused.split_once("run: ").unwrap_or_else(|| panic!("{refused}"));
    assert_eq!(sql, wanted);
    operator.batch_execute(sql).await.unwrap();
    poor.open(&service, patient()).await.unwrap();
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn a_call_waits_while_the_server_has_no_connection_left() {
    let (service, operator) = (service(), operator().await);
    let config = PostgresConfig { longest_wait: Duration::from_millis(200), ..patient() };
    let shop = host(&service, config).await;
    let asked = "SELECT role FROM comptoir.logins WHERE service = $1";
    let role: String = operator.query_one(asked, &[&service]).await.unwrap().get(0);
    // One connection for reads and one for writes.
    operator.batch_execute(&format!("ALTER ROLE \"{role}\" CONNECTION LIMIT 2")).await.unwrap();
    let held = shop.0.lend(&shop.0.reader).await.unwrap();
    assert_eq!(shop.query(sql("SELECT 1")).await.err(), Some(StorageError::Busy), "after its time a call gives up");
    let (read, ()) = futures::future::join(shop.query(sql("SELECT 1")), async { held.done() }).await;
    assert_eq!(read.unwrap().values(), [Value::Integer(1)]);
}

#[test]
fn a_server_on_another_machine_needs_an_authority() {
    for near in [
        "postgres://c@127.0.0.1/shop",
        "postgres://c@[::1]/shop",
        "postgres://c@localhost/shop",
        "host=/run/postgresql",
    ] {
        assert!(PostgresServer::new(near, None).is_ok(), "{near}");
    }
    for remote_host in
        ["postgres://c:secret@db.example/shop", "postgres://c:secret@10.0.0.1/shop", "host=localhost hostaddr=10.0.0.1"]
    {
        let refused = PostgresServer::new(remote_host, None).unwrap_err();
        assert!(matches!(refused, ServerError::Unprotected(_)), "{remote_host}: {refused}");
        assert!(!refused.to_string().contains("secret"));
    }
    assert!(matches!(PostgresServer::new("http://x", None), Err(ServerError::Malformed(_))));
    let server = PostgresServer::new("postgres://c:secret@localhost/shop", None).unwrap();
    assert!(!format!("{server:?}").contains("secret"));
}

#[test]
fn only_the_owner_may_read_the_file_with_the_connection_string() {
    use std::os::unix::fs::PermissionsExt as _;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "postgres://c:secret@localhost/shop\n").unwrap();
    assert!(PostgresServer::read(file.path(), None).is_ok());
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o660)).unwrap();
    assert!(matches!(PostgresServer::read(file.path(), None), Err(ServerError::Exposed { mode: 0o660, .. })));
    let nothing = Path::new("/there/is/nothing");
    assert!(matches!(PostgresServer::read(nothing, None), Err(ServerError::Unreadable { .. })));
}

#[test]
fn an_authority_is_a_file_with_certificates() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let refused = PostgresServer::new("postgres://c@db.example/shop", Some(file.path())).unwrap_err();
    assert!(refused.to_string().contains("the file contains no certificate"), "{refused}");
}
