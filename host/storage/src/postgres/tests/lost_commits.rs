//! Commits whose answer is lost, because a proxy between host and server cuts the connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::config::Host;

use super::*;

/// What the proxy does with the next COMMIT.
const FORWARD: u8 = 0;
/// Sends it to the server and drops the answer.
const LOSE_ANSWER: u8 = 1;
/// Drops it.
const LOSE_COMMIT: u8 = 2;
/// Like [`LOSE_ANSWER`], and refuses all later connections.
const DISAPPEAR: u8 = 3;

/// A proxy in front of the server, and how it treats the next COMMIT.
async fn proxy() -> (PostgresServer, Arc<AtomicU8>) {
    let config: tokio_postgres::Config = url().parse().unwrap();
    let Host::Tcp(name) = config.get_hosts()[0].clone() else { panic!("the tests use TCP") };
    let server = (name, config.get_ports()[0]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let fault = Arc::new(AtomicU8::new(FORWARD));
    let through = url().replace(&format!("@{}:{}/", server.0, server.1), &format!("@127.0.0.1:{port}/"));
    tokio::spawn({
        let fault = fault.clone();
        async move {
            while let Ok((client, _)) = listener.accept().await {
                if fault.load(Ordering::SeqCst) != DISAPPEAR {
                    let to = TcpStream::connect(server.clone()).await.unwrap();
                    tokio::spawn(forward(client, to, fault.clone()));
                }
            }
        }
    });
    (PostgresServer::new(&through, None).unwrap(), fault)
}

/// Copies both directions until one ends, or until a COMMIT meets a fault.
async fn forward(mut client: TcpStream, mut server: TcpStream, fault: Arc<AtomicU8>) {
    let (mut sent, mut answered) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            read = client.read(&mut sent) => {
                let Ok(bytes @ 1..) = read else { return };
                let is_commit = sent[..bytes].windows(6).any(|window| window == b"COMMIT");
                let treat = if is_commit { fault.load(Ordering::SeqCst) } else { FORWARD };
                if treat == LOSE_COMMIT {
                    return;
                }
                server.write_all(&sent[..bytes]).await.unwrap();
                if treat != FORWARD {
                    // The server has committed when it answers that.
                    let mut answer = Vec::new();
                    while !answer.windows(6).any(|window| window == b"COMMIT") {
                        server.read_buf(&mut answer).await.unwrap();
                    }
                    return;
                }
            }
            read = server.read(&mut answered) => {
                let Ok(bytes @ 1..) = read else { return };
                if client.write_all(&answered[..bytes]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// A transaction that sells one mug, and its storage.
async fn sale(storage: &PostgresStorage) -> Box<dyn Transaction> {
    let transaction = storage.begin().await.unwrap();
    transaction.execute(sql(SELL_ONE)).await.unwrap();
    transaction
}

async fn behind(server: &PostgresServer, config: PostgresConfig) -> PostgresStorage {
    let service = service();
    drop(host(&service, patient()).await);
    server.open(&service, config).await.unwrap()
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn a_commit_whose_answer_is_lost_succeeds() {
    let (server, fault) = proxy().await;
    let storage = behind(&server, patient()).await;
    let transaction = sale(&storage).await;
    fault.store(LOSE_ANSWER, Ordering::SeqCst);
    assert_eq!(transaction.commit().await, Ok(()));
    assert_eq!(stock(&storage).await, [Value::Integer(9)]);
    let executed = storage.execute(sql(SELL_ONE)).await;
    assert!(matches!(executed, Ok(1) | Err(StorageError::OutcomeUnknown(_))), "{executed:?}");
    assert_eq!(stock(&storage).await, [Value::Integer(8)]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn a_commit_that_never_arrives_has_no_effect() {
    let (server, fault) = proxy().await;
    let storage = behind(&server, patient()).await;
    let transaction = sale(&storage).await;
    fault.store(LOSE_COMMIT, Ordering::SeqCst);
    assert!(matches!(transaction.commit().await, Err(StorageError::Unavailable(_))));
    assert_eq!(stock(&storage).await, [Value::Integer(10)]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn if_the_server_disappears_during_a_commit_the_outcome_is_unknown() {
    let (server, fault) = proxy().await;
    let brief = Duration::from_millis(100);
    let storage = behind(&server, PostgresConfig { longest_wait: brief, statement_deadline: brief, ..patient() }).await;
    // A read connection that is already open would still work.
    storage.0.reader.close();
    let transaction = sale(&storage).await;
    fault.store(DISAPPEAR, Ordering::SeqCst);
    assert!(matches!(transaction.commit().await, Err(StorageError::OutcomeUnknown(_))));
}
