//! The PostgreSQL server as a neighbour: it starts later than the host.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;

use testing::Client;
use testing::databases::Database;
use testing::shop_process::{ShopProcess, log};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// Closes the first connection, as a server does that is starting. Forwards the later ones to the real server.
async fn forward_all_but_the_first(listener: TcpListener, server: String) {
    drop(listener.accept().await.unwrap());
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let server = server.clone();
        tokio::spawn(async move {
            let mut server = TcpStream::connect(server).await.unwrap();
            copy_bidirectional(&mut client, &mut server).await
        });
    }
}

/// The connection string of a database, but at another address. Also the address of its server.
fn through(database: &Database, address: SocketAddr) -> (String, String) {
    let url = database.url();
    let (login, rest) = url.rsplit_once('@').unwrap();
    let (server, name) = rest.rsplit_once('/').unwrap();
    (format!("{login}@{address}/{name}"), server.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn a_host_that_starts_before_its_database_waits_and_says_so() {
    let (database, folder) = (Database::create().await, tempfile::tempdir().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, server) = through(&database, listener.local_addr().unwrap());
    let forwarding = tokio::spawn(forward_all_but_the_first(listener, server));
    let mut file = std::fs::File::options();
    let mut file = file.write(true).create_new(true).mode(0o600).open(folder.path().join("postgres.url")).unwrap();
    file.write_all(url.as_bytes()).unwrap();
    let mut process = ShopProcess::spawn(folder.path());
    let gateway = process.serves().await.expect("the host waits for its database").gateway;
    Client::new(&gateway).get("/products").await.succeeds(200);
    let said = std::fs::read_to_string(log(folder.path())).unwrap();
    assert!(said.contains("waiting for the database of") && said.contains("trying again every second"), "{said}");
    process.kill().await;
    forwarding.abort();
}
