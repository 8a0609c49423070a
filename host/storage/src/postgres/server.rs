//! The PostgreSQL server: one database, with a schema and a role for each service.
//!
//! At a service's first start, the host's own role creates both. It stores the password of the service's role in a schema of its
//! own, where other hosts find it. A service's statements and migrations never run as the host's role. A service's role cannot
//! access the schema of another service.

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use postgres_protocol::password::scram_sha_256;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, NoTls, Transaction};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::config::PostgresConfig;
use super::fault::with_causes;
use super::fitness;
use super::server_error::{LONGEST_NAME, ServerError};
use super::transaction::milliseconds;
use super::{LEASE_GRACE, Pools, PostgresStorage};
use crate::permissions;

/// How long connecting may take, and how long the server's machine may be silent.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// How long opening a service's schema may take.
///
/// Hosts that start at the same time take turns.
const OPEN_TIME: Duration = Duration::from_secs(30);

/// The host's own schema. Only the host's role can read it.
const OWN_SCHEMA: &str = "
    CREATE SCHEMA IF NOT EXISTS comptoir;
    CREATE TABLE IF NOT EXISTS comptoir.logins (service text PRIMARY KEY, role text NOT NULL, password text NOT NULL)";

/// Only one host at a time creates schemas and roles.
const SETUP_LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('comptoir: schemas and roles', 0))";

/// A database on a PostgreSQL server. Its `Debug` output hides the password.
#[derive(Clone)]
pub struct PostgresServer {
    config: Config,
    tls: Option<MakeRustlsConnect>,
}

/// The role and password of a service.
struct Login {
    role: String,
    password: String,
}

impl PostgresServer {
    /// Reads the connection string from a file. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// Those of [`PostgresServer::new`], and if other users may read the file.
    pub fn read(url: &Path, authority: Option<&Path>) -> Result<Self, ServerError> {
        let unreadable = |cause| ServerError::Unreadable { path: url.to_owned(), cause };
        let mut file = File::open(url).map_err(unreadable)?;
        if let Some(mode) = permissions::exposed(&file.metadata().map_err(unreadable)?) {
            return Err(ServerError::Exposed { path: url.to_owned(), mode });
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(unreadable)?;
        Self::new(&text, authority)
    }

    /// Makes a server from a connection string.
    ///
    /// `authority` is a PEM file with the certificates that may have signed the server's certificate. Without it the connection
    /// is not encrypted, so the server must be on this machine.
    ///
    /// # Errors
    ///
    /// What is wrong with the text or the file. This does not connect to the server.
    pub fn new(url: &str, authority: Option<&Path>) -> Result<Self, ServerError> {
        let mut config = Config::from_str(url.trim()).map_err(|error| ServerError::Malformed(with_causes(&error)))?;
        let tls = authority.map(tls).transpose()?;
        if tls.is_none()
            && let Some(remote_host) = remote_host(&config)
        {
            return Err(ServerError::Unprotected(remote_host));
        }
        config
            .ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable })
            .connect_timeout(CONNECT_TIME)
            .tcp_user_timeout(CONNECT_TIME * 2)
            .keepalives_idle(CONNECT_TIME * 2)
            .keepalives_interval(CONNECT_TIME)
            .keepalives_retries(2)
            .application_name("comptoir");
        Ok(Self { config, tls })
    }

    /// Opens the schema of a service. Creates it with its role at the first start.
    ///
    /// # Errors
    ///
    /// One sentence that says what is wrong with the server or its answers.
    pub async fn open(&self, service: &str, config: PostgresConfig) -> Result<PostgresStorage, ServerError> {
        let opened = timeout(OPEN_TIME, self.open_schema(service, config)).await;
        opened
            .unwrap_or_else(|_| Err(ServerError::Unreachable(format!("the schema was not ready within {OPEN_TIME:?}"))))
    }

    async fn open_schema(&self, service: &str, config: PostgresConfig) -> Result<PostgresStorage, ServerError> {
        let schema = format!("service_{service}");
        check_name(&schema)?;
        let login = self.login(service, &schema).await?;
        let mut as_service = self.config.clone();
        as_service.user(&login.role).password(&login.password).application_name(format!("comptoir {service}"));
        let reader = self.pool(&as_service, &settings(&schema, &config, true), config.readers, &config).await?;
        let writer = self.pool(&as_service, &settings(&schema, &config, false), 1, &config).await?;
        Ok(PostgresStorage::new(&schema, Pools { reader, writer }, config).await?)
    }

    /// Reads the login of a service. Creates its role and schema at the first start.
    ///
    /// The host's role must have the right to create roles and schemas.
    async fn login(&self, service: &str, schema: &str) -> Result<Login, ServerError> {
        let mut client = self.connect().await?;
        fitness::check(&client).await?;
        let transaction = client.transaction().await?;
        transaction.batch_execute(SETUP_LOCK).await?;
        if !returns_row(&transaction, "SELECT 1 WHERE to_regclass($1) IS NOT NULL", "comptoir.logins").await? {
            check_rights(&transaction).await?;
            transaction.batch_execute(OWN_SCHEMA).await?;
        }
        let kept = "SELECT role, password FROM comptoir.logins WHERE service = $1";
        let (login, is_new) = match transaction.query_opt(kept, &[&service]).await? {
            Some(row) => (Login { role: row.get(0), password: row.get(1) }, false),
            None => (Login::new(&transaction, service).await?, true),
        };
        let has_role = returns_row(&transaction, "SELECT 1 FROM pg_roles WHERE rolname = $1", &login.role).await?;
        let has_schema = returns_row(&transaction, "SELECT 1 FROM pg_namespace WHERE nspname = $1", schema).await?;
        match (is_new, has_role, has_schema) {
            (true, true, _) => return Err(ServerError::Taken(login.role)),
            (true, false, _) => {
                check_rights(&transaction).await?;
                transaction.batch_execute(&login.creation(schema)).await?;
            }
            (false, false, _) => return Err(ServerError::Missing(login.role)),
            (false, true, false) => return Err(ServerError::Emptied(schema.to_owned())),
            (false, true, true) => {}
        }
        transaction.commit().await?;
        Ok(login)
    }

    async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        Ok(match &self.tls {
            None => drive(self.config.connect(NoTls).await?),
            Some(tls) => drive(self.config.connect(tls.clone()).await?),
        })
    }

    /// Makes a pool, and checks on its first connection that it has these settings.
    async fn pool(
        &self,
        login: &Config,
        settings: &Settings,
        size: usize,
        config: &PostgresConfig,
    ) -> Result<Pool, ServerError> {
        let mut login = login.clone();
        login.options(options(settings));
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = match &self.tls {
            None => Manager::from_config(login, NoTls, recycling),
            Some(tls) => Manager::from_config(login, tls.clone(), recycling),
        };
        let pool = Pool::builder(manager)
            .max_size(size)
            .wait_timeout(Some(config.longest_wait))
            .create_timeout(Some(CONNECT_TIME))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| ServerError::Refused(error.to_string()))?;
        let first = pool.get().await?;
        for (name, value) in settings {
            let row = first.query_one("SELECT setting FROM pg_settings WHERE name = $1", &[name]).await?;
            if row.get::<_, &str>(0) != value {
                return Err(ServerError::Unfit(format!(
                    "has {name} = {} on a connection that requested {value}: connect without a pooler or proxy that drops \
                     `options`",
                    row.get::<_, &str>(0)
                )));
            }
        }
        drop(first);
        Ok(pool)
    }
}

impl std::fmt::Debug for PostgresServer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PostgresServer").field("hosts", &self.config.get_hosts()).finish_non_exhaustive()
    }
}

impl Login {
    /// Creates a login with a new password and stores it for other hosts.
    async fn new(transaction: &Transaction<'_>, service: &str) -> Result<Self, ServerError> {
        let database: String = transaction.query_one("SELECT current_database()::text", &[]).await?.get(0);
        let role = format!("comptoir_{database}_{service}");
        check_name(&role)?;
        let password = password()?;
        let add = "INSERT INTO comptoir.logins (service, role, password) VALUES ($1, $2, $3)";
        transaction.execute(add, &[&service, &role, &password]).await?;
        Ok(Self { role, password })
    }

    /// The statements that create the role and its schema.
    ///
    /// They contain only the verifier of the password, because servers log such statements more often than parameters.
    fn creation(&self, schema: &str) -> String {
        let (role, schema) = (quoted(&self.role), quoted(schema));
        let verifier = scram_sha_256(self.password.as_bytes());
        // Only a member of a role may create a schema for it.
        format!(
            "CREATE ROLE {role} LOGIN PASSWORD '{verifier}'; GRANT {role} TO CURRENT_USER;
             CREATE SCHEMA {schema} AUTHORIZATION {role}"
        )
    }
}

/// Checks that the host's role may create roles and schemas. The error contains the SQL that allows it.
async fn check_rights(transaction: &Transaction<'_>) -> Result<(), ServerError> {
    let asked = "SELECT rolcreaterole OR rolsuper, has_database_privilege(current_database(), 'CREATE'),
                 current_user::text, current_database()::text FROM pg_roles WHERE rolname = current_user";
    let row = transaction.query_one(asked, &[]).await?;
    let (role, database) = (quoted(row.get(2)), quoted(row.get(3)));
    let checked: [(bool, String); 2] = [
        (row.get(0), format!("ALTER ROLE {role} CREATEROLE;")),
        (row.get(1), format!("GRANT CREATE ON DATABASE {database} TO {role};")),
    ];
    let sql: Vec<_> = checked.into_iter().filter_map(|(allowed, sql)| (!allowed).then_some(sql)).collect();
    if sql.is_empty() { Ok(()) } else { Err(ServerError::Rights(sql.join(" "))) }
}

/// Whether a query with one parameter returns a row.
async fn returns_row(transaction: &Transaction<'_>, sql: &str, name: &str) -> Result<bool, ServerError> {
    Ok(transaction.query_opt(sql, &[&name]).await?.is_some())
}

/// Names and values of settings, as PostgreSQL shows them.
type Settings = Vec<(&'static str, String)>;

/// The settings of a service's connections. They override the server's own.
fn settings(schema: &str, config: &PostgresConfig, only_reads: bool) -> Settings {
    let of = |time| milliseconds(time).to_string();
    let only_reads = if only_reads { "on" } else { "off" };
    vec![
        ("search_path", format!("\"{schema}\"")),
        // Without these settings, PostgreSQL limits none of the three.
        ("statement_timeout", of(config.statement_deadline)),
        ("lock_timeout", of(config.longest_wait)),
        // The host ends leases itself. This setting ends the lease of a host that hangs, or that died without closing its connection.
        ("idle_in_transaction_session_timeout", of(config.transaction_lease + LEASE_GRACE)),
        ("client_connection_check_interval", "100".into()),
        ("default_transaction_read_only", only_reads.into()),
        ("default_transaction_isolation", "read committed".into()),
        ("synchronous_commit", "on".into()),
        // `dialect` relies on these: no character in a string starts an escape sequence.
        ("standard_conforming_strings", "on".into()),
        ("backslash_quote", "off".into()),
        ("transform_null_equals", "off".into()),
        ("bytea_output", "hex".into()),
        ("client_min_messages", "warning".into()),
        ("jit", "off".into()),
    ]
}

/// Settings in the form of the connection parameter `options`.
///
/// See PostgreSQL's manual, 34.1.2.
fn options(settings: &Settings) -> String {
    let option = |(name, value): &(&str, String)| format!("-c {name}={}", value.replace(' ', "\\ "));
    settings.iter().map(option).collect::<Vec<_>>().join(" ")
}

fn check_name(name: &str) -> Result<(), ServerError> {
    if name.len() > LONGEST_NAME { Err(ServerError::Name(name.to_owned())) } else { Ok(()) }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// 256 random bits in hexadecimal.
fn password() -> Result<String, ServerError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        ServerError::Refused(format!("cannot create a password, because the system provides no random bytes: {error}"))
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The first host of a connection string that is not on this machine.
fn remote_host(config: &Config) -> Option<String> {
    let is_near = |name: &str| name.parse::<IpAddr>().map_or(name == "localhost", |address| address.is_loopback());
    let names = config.get_hosts().iter().filter_map(|host| match host {
        Host::Tcp(name) => Some(name.clone()),
        Host::Unix(_) => None,
    });
    let addresses = config.get_hostaddrs().iter().map(IpAddr::to_string);
    // If an address is given, the name is only used for the certificate.
    let reached: Vec<String> = if config.get_hostaddrs().is_empty() { names.collect() } else { addresses.collect() };
    reached.into_iter().find(|name| !is_near(name))
}

fn tls(authority: &Path) -> Result<MakeRustlsConnect, ServerError> {
    let unusable = |cause: String| ServerError::Authority { path: authority.to_owned(), cause };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(authority).map_err(|error| unusable(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("the file contains no certificate".into()));
    }
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?;
    Ok(MakeRustlsConnect::new(client.with_root_certificates(roots).with_no_client_auth()))
}

/// Runs the connection in a task until its client is dropped.
fn drive<S, T>((client, connection): (Client, tokio_postgres::Connection<S, T>)) -> Client
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    // The client gets the errors of its connection.
    tokio::spawn(async move { drop(connection.await) });
    client
}
