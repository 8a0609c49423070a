//! The twin's database: reads on the callers' threads, writes on one writer thread.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use tokio::sync::oneshot;

use crate::constants::STOCK;

const PRODUCTS: &str = "SELECT id, name, price_cents, description, stock, date_creation FROM products ORDER BY id";
const PROFILE: &str = "SELECT id, username, email, first_name, last_name, phone, address, date_creation, date_update
    FROM profiles WHERE id = $1";
const TAKE: &str = "UPDATE products SET stock = stock - $1 WHERE id = $2 AND stock >= $1 RETURNING name, price_cents";
const ORDER: &str = "INSERT INTO orders (user_id, total_cents, status, date_creation) VALUES ($1, $2, 'pending', $3)
    RETURNING id";
const ITEM: &str = "INSERT INTO order_items (order_id, product_id, product_name, quantity, price_cents)
    VALUES ($1, $2, $3, $4, $5) RETURNING id";
const ATTEMPT: &str = "INSERT INTO attempts (digest, count, refused_until, forgotten_at) VALUES ($1, 1, 0, $2)
    ON CONFLICT (digest) DO UPDATE SET count = count + 1";
const LOGIN: &str = "SELECT id, username, role, password_hash FROM logins WHERE name_key = $1 AND state = 'active'";
const SESSION: &str =
    "INSERT INTO sessions (id, login_id, created_at, generation, expires_at) VALUES ($1, $2, $3, 1, $4)";
const REFRESH: &str =
    "INSERT INTO refresh_tokens (digest, session_id, generation, issued_at, expires_at) VALUES ($1, $2, 1, $3, $4)";
const FORGET: &str = "DELETE FROM attempts WHERE digest = $1";

/// Milliseconds after which a login attempt expires.
const ATTEMPT_MEMORY_MS: i64 = 3_600_000;

/// A change. Returns the function that sends its result.
type Job = Box<dyn FnOnce(&Connection) -> Done + Send>;

/// Sends the result of a change. Called after the commit, with whether it succeeded.
type Done = Box<dyn FnOnce(bool) + Send>;

/// All rows of the shop.
pub(super) struct Database {
    path: PathBuf,
    readers: Mutex<Vec<Connection>>,
    writer: Sender<Job>,
}

/// A product does not exist or has too little stock. The order's other changes are rolled back.
#[derive(Debug, thiserror::Error)]
#[error("there is not enough of a product")]
pub(super) struct OutOfStock;

/// An account that may log in.
pub(super) struct Known {
    pub(super) id: i64,
    pub(super) username: String,
    pub(super) role: String,
    pub(super) password_hash: String,
}

/// A session to be stored. Times are in seconds.
pub(super) struct Session {
    pub(super) login: i64,
    pub(super) id: String,
    pub(super) digest: String,
    pub(super) now: i64,
    pub(super) expires_at: i64,
    /// The digest under which login attempts are counted.
    pub(super) attempts: String,
}

impl Database {
    /// Creates the shop's tables and rows in a new file. At most `group` transactions share a sync.
    pub(super) fn open(path: &Path, group: usize) -> anyhow::Result<Self> {
        let connection = connect(path)?;
        connection.execute_batch(concat!(
            include_str!("../../../../components/orders/migrations/1.sql"),
            include_str!("../../../../components/user/migrations/1.sql"),
            include_str!("../../../../components/auth/migrations/1.sql"),
        ))?;
        connection.execute("UPDATE products SET stock = $1", [STOCK])?;
        let (writer, jobs) = channel();
        std::thread::Builder::new().name("writer".to_owned()).spawn(move || write_all(&connection, &jobs, group))?;
        Ok(Self { path: path.to_owned(), readers: Mutex::default(), writer })
    }

    /// The body of the answer with all products.
    pub(super) fn products(&self) -> anyhow::Result<Vec<u8>> {
        self.read(|connection| {
            let mut body = Vec::with_capacity(1024);
            body.extend_from_slice(b"{\"success\":true,\"data\":[");
            let mut statement = connection.prepare_cached(PRODUCTS)?;
            let mut rows = statement.query([])?;
            let mut count = 0;
            while let Some(row) = rows.next()? {
                if count > 0 {
                    body.push(b',');
                }
                serde_json::to_writer(&mut body, &Product::read(row)?)?;
                count += 1;
            }
            write!(body, "],\"count\":{count}}}")?;
            Ok(body)
        })
    }

    /// The owner of a profile, and the body of the answer.
    pub(super) fn profile(&self, id: i64) -> anyhow::Result<Option<(String, Vec<u8>)>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(PROFILE)?;
            let mut rows = statement.query([id])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let profile = Profile::read(row)?;
            let mut body = Vec::with_capacity(512);
            body.extend_from_slice(b"{\"success\":true,\"data\":");
            serde_json::to_writer(&mut body, &profile)?;
            body.push(b'}');
            Ok(Some((profile.username.to_owned(), body)))
        })
    }

    /// Takes the stock, stores the order and returns the body of the answer. Fails with [`OutOfStock`] among others.
    pub(super) async fn place(&self, buyer: String, lines: Vec<(i64, u32)>, now: i64) -> anyhow::Result<Vec<u8>> {
        self.write(move |connection| place(connection, &buyer, &lines, now)).await
    }

    /// Counts a login attempt, and finds its account.
    pub(super) async fn count_attempt(&self, name: String, digest: String, now: i64) -> anyhow::Result<Option<Known>> {
        self.write(move |connection| {
            connection.prepare_cached(ATTEMPT)?.execute(params![digest, now * 1000 + ATTEMPT_MEMORY_MS])?;
            let known = connection.prepare_cached(LOGIN)?.query_row([name], |row| {
                Ok(Known { id: row.get(0)?, username: row.get(1)?, role: row.get(2)?, password_hash: row.get(3)? })
            });
            Ok(known.optional()?)
        })
        .await
    }

    /// Stores a session with its first refresh token, and deletes the account's attempts.
    pub(super) async fn open_session(&self, session: Session) -> anyhow::Result<()> {
        self.write(move |connection| {
            let (now, expires_at) = (session.now * 1000, session.expires_at * 1000);
            connection.prepare_cached(SESSION)?.execute(params![session.id, session.login, now, expires_at])?;
            connection.prepare_cached(REFRESH)?.execute(params![session.digest, session.id, now, expires_at])?;
            connection.prepare_cached(FORGET)?.execute([session.attempts])?;
            Ok(())
        })
        .await
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let idle = || self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = idle().pop();
        let connection = reader.map_or_else(|| connect(&self.path), Ok)?;
        let result = work(&connection);
        idle().push(connection);
        result
    }

    /// Runs a change on the writer thread. Its result is durable when this returns.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let result = in_savepoint(connection, work);
            Box::new(move |durable| {
                let result = if durable { result } else { Err(anyhow::anyhow!("the commit failed")) };
                // A caller that went away does not need the result.
                let _ = sender.send(result);
            })
        });
        self.writer.send(job).ok().context("the writer thread ended")?;
        receiver.await?
    }
}

fn connect(path: &Path) -> anyhow::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.set_prepared_statement_cache_capacity(32);
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")?;
    Ok(connection)
}

/// Runs jobs until the database is dropped. Waiting jobs share a transaction, at most `group` of them.
fn write_all(connection: &Connection, jobs: &Receiver<Job>, group: usize) {
    while let Ok(first) = jobs.recv() {
        let began = connection.execute_batch("BEGIN IMMEDIATE").is_ok();
        let waiting = jobs.try_iter().take(group.saturating_sub(1));
        let done: Vec<Done> = std::iter::once(first).chain(waiting).map(|job| job(connection)).collect();
        let durable = began && connection.execute_batch("COMMIT").is_ok();
        done.into_iter().for_each(|done| done(durable));
    }
}

fn in_savepoint<T>(connection: &Connection, work: impl FnOnce(&Connection) -> anyhow::Result<T>) -> anyhow::Result<T> {
    connection.prepare_cached("SAVEPOINT one")?.execute([])?;
    let result = work(connection);
    if result.is_err() {
        connection.prepare_cached("ROLLBACK TO one")?.execute([])?;
    }
    connection.prepare_cached("RELEASE one")?.execute([])?;
    result
}

fn place(connection: &Connection, buyer: &str, lines: &[(i64, u32)], now: i64) -> anyhow::Result<Vec<u8>> {
    let mut items = Vec::with_capacity(lines.len());
    for (product_id, quantity) in lines.iter().copied() {
        let taken = connection.prepare_cached(TAKE)?.query_row(params![quantity, product_id], |row| {
            let (product_name, price) = (row.get(0)?, Cents(row.get(1)?));
            Ok(Item { id: 0, order_id: 0, product_id, product_name, quantity, price })
        });
        items.push(taken.optional()?.ok_or(OutOfStock)?);
    }
    let total = Cents(items.iter().map(|item| item.price.0 * i64::from(item.quantity)).sum());
    let date_creation = date_time(OffsetDateTime::from_unix_timestamp(now)?);
    let id = connection.prepare_cached(ORDER)?.query_row(params![buyer, total.0, date_creation], |row| row.get(0))?;
    for item in &mut items {
        item.order_id = id;
        let values = params![id, item.product_id, item.product_name, item.quantity, item.price.0];
        item.id = connection.prepare_cached(ITEM)?.query_row(values, |row| row.get(0))?;
    }
    let order = Order { id, user_id: buyer, total, status: "pending", date_creation: &date_creation, items };
    let mut body = Vec::with_capacity(512);
    body.extend_from_slice(b"{\"success\":true,\"data\":");
    serde_json::to_writer(&mut body, &order)?;
    body.extend_from_slice(b",\"message\":\"The order was placed.\"}");
    Ok(body)
}

fn date_time(at: OffsetDateTime) -> String {
    let (date, time) = (at.date(), at.time());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", time.hour(), time.minute(), time.second())
}

#[derive(Clone, Copy)]
struct Cents(i64);

impl Serialize for Cents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / 100.0)
    }
}

#[derive(Serialize)]
struct Product<'a> {
    id: i64,
    name: &'a str,
    price: Cents,
    description: &'a str,
    stock: i64,
    date_creation: &'a str,
}

impl<'a> Product<'a> {
    fn read(row: &'a Row<'_>) -> anyhow::Result<Self> {
        let text = |column| anyhow::Ok(row.get_ref(column)?.as_str()?);
        Ok(Self {
            id: row.get(0)?,
            name: text(1)?,
            price: Cents(row.get(2)?),
            description: text(3)?,
            stock: row.get(4)?,
            date_creation: text(5)?,
        })
    }
}

#[derive(Serialize)]
struct Profile<'a> {
    id: i64,
    username: &'a str,
    email: Option<&'a str>,
    first_name: Option<&'a str>,
    last_name: Option<&'a str>,
    phone: Option<&'a str>,
    address: Option<&'a str>,
    date_creation: &'a str,
    date_update: &'a str,
}

impl<'a> Profile<'a> {
    fn read(row: &'a Row<'_>) -> anyhow::Result<Self> {
        let text = |column| anyhow::Ok(row.get_ref(column)?.as_str()?);
        let perhaps = |column| anyhow::Ok(row.get_ref(column)?.as_str_or_null()?);
        Ok(Self {
            id: row.get(0)?,
            username: text(1)?,
            email: perhaps(2)?,
            first_name: perhaps(3)?,
            last_name: perhaps(4)?,
            phone: perhaps(5)?,
            address: perhaps(6)?,
            date_creation: text(7)?,
            date_update: text(8)?,
        })
    }
}

#[derive(Serialize)]
struct Order<'a> {
    id: i64,
    user_id: &'a str,
    total: Cents,
    status: &'a str,
    date_creation: &'a str,
    items: Vec<Item>,
}

#[derive(Serialize)]
struct Item {
    id: i64,
    order_id: i64,
    product_id: i64,
    product_name: String,
    quantity: u32,
    price: Cents,
}
