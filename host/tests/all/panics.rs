//! Panics in the host's own code during a guest's call: only that request fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use comptoir::audit::Audit;
use comptoir::clock::Clock;
use comptoir::deploy::{Deployer, Opened, Platform, Record};
use comptoir::engine::Engines;
use comptoir::gate::{AdminToken, Gate};
use comptoir::gateway::{Door, Gateway};
use comptoir::listener::{Connections, Control};
use comptoir::passwords::{self, Passwords};
use comptoir::revision::Background;
use comptoir::tokens::Tokens;
use futures::future::BoxFuture;
use serde_json::json;
use storage::read_set::ReadSet;
use storage::sqlite::{SqliteConfig, SqliteStorage};
use storage::{
    Migration, MigrationError, NotAdditive, Rows, Statement, Storage, StorageError, Table, Transaction, Usage,
};
use tempfile::TempDir;
use testing::built::compiled;
use testing::{Client, manifest_of};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// While this is set, the database panics.
#[derive(Clone, Default)]
struct Fault(Arc<AtomicBool>);

impl Fault {
    /// Panics if the fault is set. Yields first, so that the guest is waiting when the panic happens.
    async fn strike(&self) {
        tokio::task::yield_now().await;
        assert!(!self.0.load(Ordering::Relaxed), "on purpose");
    }
}

struct Faulty {
    sound: SqliteStorage,
    fault: Fault,
}

impl Storage for Faulty {
    fn read(&self, statement: Statement) -> BoxFuture<'_, Result<(Rows, Option<ReadSet>), StorageError>> {
        assert!(!self.fault.0.load(Ordering::Relaxed), "on purpose, before the guest waits");
        self.sound.read(statement)
    }

    fn execute(&self, statement: Statement) -> BoxFuture<'_, Result<u64, StorageError>> {
        Box::pin(async move {
            self.fault.strike().await;
            self.sound.execute(statement).await
        })
    }

    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Transaction>, StorageError>> {
        Box::pin(async move {
            let transaction = FaultyTransaction { sound: self.sound.begin().await?, fault: self.fault.clone() };
            Ok(Box::new(transaction) as Box<dyn Transaction>)
        })
    }

    fn migrate(&self, migrations: Vec<Migration>) -> BoxFuture<'_, Result<Vec<u32>, MigrationError>> {
        self.sound.migrate(migrations)
    }

    fn check_additive(&self, migrations: Vec<Migration>) -> BoxFuture<'_, Result<(), NotAdditive>> {
        self.sound.check_additive(migrations)
    }

    fn tables(&self) -> BoxFuture<'_, Result<Vec<Table>, StorageError>> {
        self.sound.tables()
    }

    fn schema_version(&self) -> BoxFuture<'_, Result<u32, StorageError>> {
        self.sound.schema_version()
    }

    fn usage(&self) -> &Usage {
        self.sound.usage()
    }
}

struct FaultyTransaction {
    sound: Box<dyn Transaction>,
    fault: Fault,
}

impl Transaction for FaultyTransaction {
    fn query(&self, statement: Statement) -> BoxFuture<'_, Result<Rows, StorageError>> {
        self.sound.query(statement)
    }

    /// Panics after the row is written and before it is committed.
    fn execute(&self, statement: Statement) -> BoxFuture<'_, Result<u64, StorageError>> {
        Box::pin(async move {
            let changed = self.sound.execute(statement).await?;
            self.fault.strike().await;
            Ok(changed)
        })
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), StorageError>> {
        self.sound.commit()
    }
}

/// A host built from its parts, with one instance and a database that panics on demand.
struct Stand {
    anon: Client,
    fault: Fault,
    _stop: watch::Sender<bool>,
    _folder: TempDir,
}

const UNRULY: &str = r#"
[services.unruly]
component = "guest_unruly.wasm"
mounts = ["/unruly"]
public = ["/unruly"]
grants = ["storage"]
calls = ["unruly"]
limits = { concurrency = 1 }
"#;

impl Stand {
    async fn open() -> Self {
        let (folder, clock, fault) = (tempfile::tempdir().unwrap(), Clock::default(), Fault::default());
        let (path, manifest) = (folder.path(), manifest_of(UNRULY));
        let tokens = Arc::new(Tokens::open(path, clock.clone()).unwrap());
        let sound = SqliteStorage::open(path.join("unruly.db"), SqliteConfig::default()).unwrap();
        let storage: Arc<dyn Storage> = Arc::new(Faulty { sound, fault: fault.clone() });
        let audit = Audit::open(path, clock.clone(), u64::MAX).unwrap();
        let compiled = compiled();
        let platform = Platform {
            engines: Arc::new(Engines::new(&compiled, manifest.instances).unwrap()),
            tokens: tokens.clone(),
            passwords: Arc::new(Passwords::new(passwords::Limits::default())),
            audit: audit.clone(),
            background: Arc::new(Background::new().unwrap()),
            clock: clock.clone(),
            folder: path.to_owned(),
        };
        let opened = Opened { storages: BTreeMap::from([("unruly".to_owned(), storage)]), ..Opened::default() };
        let (record, listeners) = (Record::open(path, clock).unwrap(), manifest.listeners.clone());
        let deployer = Deployer::new(manifest.clone(), opened, Arc::new(platform), record, None);
        deployer.start_all().await.unwrap();
        let gate = Gate::new(tokens, Arc::new(AdminToken::open(&path.join("admin.token")).unwrap()), audit);
        let (metrics, (stop, stopping)) = (Arc::default(), watch::channel(false));
        let gateway = Arc::new(Gateway::new(deployer.current(), gate, Arc::clone(&metrics), &manifest));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let anon = Client::new(&format!("http://{}", listener.local_addr().unwrap()));
        let connections = Connections::new(&listeners, stopping, metrics);
        tokio::spawn(connections.serve(listener, Control::new(None), move |arrival, request| {
            let gateway = gateway.clone();
            async move { gateway.handle(&Door::Gateway, arrival, request).await }
        }));
        Self { anon, fault, _stop: stop, _folder: folder }
    }

    /// Sends a request that makes the host panic, then another one, which needs the only instance.
    async fn panics_at(&self, method: &str, path: &str) {
        self.fault.0.store(true, Ordering::Relaxed);
        let method = method.parse().unwrap();
        let answer = self.anon.send_body(method, path, Some("application/json"), "{}").await;
        self.fault.0.store(false, Ordering::Relaxed);
        answer.refuses(500, "INTERNAL_ERROR");
        assert!(!answer.text.contains("purpose"), "{}", answer.text);
        assert_eq!(answer.body["error"]["request_id"], answer.header("x-request-id"));
        assert_eq!(self.anon.get("/unruly/headers").await.status, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_guests_call_is_a_500_and_a_rollback_and_the_host_serves_on() {
    let stand = Stand::open().await;
    stand.panics_at("GET", "/unruly/notes").await;
    stand.panics_at("POST", "/unruly/notes").await;
    stand.panics_at("POST", "/unruly/notes-then-trap").await;
    stand.anon.post("/unruly/notes", json!({})).await.succeeds(200);
    assert_eq!(stand.anon.get("/unruly/notes").await.succeeds(200)["notes"], 1);
}
