//! All SQL statements of user. They store and read profiles, and decide nothing.

use kit::clock::DateTime;
use kit::params;
use kit::storage::{Reads, Result, Rows, Transaction, begin, execute, query};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use username::Username;

use crate::model::Fields;

/// A user's profile.
#[derive(Debug, Hash, Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "User")]
pub(crate) struct Profile<'a> {
    #[schemars(range(min = 1))]
    pub(crate) id: i64,
    /// No control characters, and no white space at the start or the end. Names that look alike count as the same.
    #[schemars(length(min = 1, max = 150))]
    pub(crate) username: &'a str,
    #[serde(borrow)]
    #[schemars(length(max = 254))]
    email: Option<&'a str>,
    #[serde(borrow)]
    #[schemars(length(max = 1000))]
    first_name: Option<&'a str>,
    #[serde(borrow)]
    #[schemars(length(max = 1000))]
    last_name: Option<&'a str>,
    #[serde(borrow)]
    #[schemars(length(max = 1000))]
    phone: Option<&'a str>,
    #[serde(borrow)]
    #[schemars(length(max = 1000))]
    address: Option<&'a str>,
    #[schemars(with = "DateTime")]
    date_creation: &'a str,
    #[schemars(with = "DateTime")]
    date_update: &'a str,
}

/// The columns of a [`Profile`].
macro_rules! columns {
    () => {
        "id, username, email, first_name, last_name, phone, address, date_creation, date_update"
    };
}

/// Up to `limit` profiles with larger ids than `id`, in order.
pub(crate) fn above(id: i64, limit: u32) -> Result<Rows> {
    query(concat!("SELECT ", columns!(), " FROM profiles WHERE id > $1 ORDER BY id LIMIT $2"), params![id, limit])
}

/// Number of profiles.
pub(crate) fn count() -> Result<i64> {
    Ok(query("SELECT count(*) FROM profiles", &[])?.one()?.unwrap_or(0))
}

/// The profile with this id.
pub(crate) fn by_id(from: &impl Reads, id: i64) -> Result<Rows> {
    from.query(concat!("SELECT ", columns!(), " FROM profiles WHERE id = $1"), params![id])
}

/// The profile with exactly this username.
pub(crate) fn by_username(username: &str) -> Result<Rows> {
    query(concat!("SELECT ", columns!(), " FROM profiles WHERE username = $1"), params![username])
}

/// Creates a profile. `registration` is auth's registration id, or None for a profile without a login.
///
/// An interrupted registration may have created its profile already. Then that profile gets the new values, because its owner
/// has not seen it yet. If another profile has the name, the constraint `Unique` fails.
pub(crate) fn insert(registration: Option<&str>, name: &Username, fields: &Fields<'_>, date: &str) -> Result<Rows> {
    const SQL: &str = concat!(
        "INSERT INTO profiles
             (registration, username, name_key, email, first_name, last_name, phone, address, date_creation, date_update)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
         ON CONFLICT (registration) DO UPDATE SET
             username = excluded.username, name_key = excluded.name_key, email = excluded.email,
             first_name = excluded.first_name, last_name = excluded.last_name, phone = excluded.phone,
             address = excluded.address, date_update = excluded.date_update
         RETURNING ",
        columns!()
    );
    let (username, name_key) = (name.as_str(), name.key());
    let Fields { email, first_name, last_name, phone, address } = *fields;
    let tx = begin()?;
    let rows =
        tx.query(SQL, params![registration, username, name_key, email, first_name, last_name, phone, address, date])?;
    tx.commit()?;
    Ok(rows)
}

/// Changes the given fields. Returns the new row, or no row if the profile does not exist.
pub(crate) fn update(tx: &Transaction, id: i64, fields: &Fields<'_>, date: &str) -> Result<Rows> {
    const SQL: &str = concat!(
        "UPDATE profiles SET
             email = coalesce($2, email), first_name = coalesce($3, first_name), last_name = coalesce($4, last_name),
             phone = coalesce($5, phone), address = coalesce($6, address), date_update = $7
         WHERE id = $1
         RETURNING ",
        columns!()
    );
    let Fields { email, first_name, last_name, phone, address } = *fields;
    tx.query(SQL, params![id, email, first_name, last_name, phone, address, date])
}

/// Deletes a profile. False if it does not exist.
pub(crate) fn delete(id: i64) -> Result<bool> {
    Ok(execute("DELETE FROM profiles WHERE id = $1", params![id])? == 1)
}
