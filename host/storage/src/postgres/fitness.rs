//! Whether a server is fit for this host: its version and its settings.

use tokio_postgres::Client;

use super::server_error::ServerError;

/// Older servers keep running statements of clients that are gone.
///
/// Since version 14 there is `client_connection_check_interval`.
const OLDEST_SERVER: i32 = 140_000;

/// Checks that the server keeps acknowledged writes, and stores texts unchanged (UTF-8).
pub(super) async fn check(client: &Client) -> Result<(), ServerError> {
    let asked = "SELECT current_setting('server_version_num')::int, current_setting('server_version'),
                 current_setting('server_encoding'), current_setting('fsync')";
    let row = client.query_one(asked, &[]).await?;
    let (number, version): (i32, String) = (row.get(0), row.get(1));
    let (encoding, sync): (String, String) = (row.get(2), row.get(3));
    if number < OLDEST_SERVER {
        return Err(ServerError::Unfit(format!("{version} is too old: this host needs 14 or newer")));
    }
    if encoding != "UTF8" {
        return Err(ServerError::Unfit(format!(
            "stores this database in {encoding}: create a database with ENCODING 'UTF8'"
        )));
    }
    if sync != "on" {
        tracing::warn!(
            target: crate::LOG_TARGET,
            "PostgreSQL runs with fsync = {sync}: acknowledged writes may be lost if its machine stops"
        );
    }
    Ok(())
}
