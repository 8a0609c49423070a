//! What user asks of orders: to forget who bought.

#[cfg(not(test))]
use kit::peer;
use kit::{Failure, Method};

#[cfg(test)]
use crate::stand_in::peer;

/// The service that keeps orders, by the names of their buyers.
const ORDERS: &str = "orders";

/// Has orders take a name off all that was bought under it, so that the next to have the name finds nothing.
///
/// # Errors
/// 503 when it could not be done now, or only in part: then it is to be called again.
pub(crate) fn forget(username: &str) -> Result<(), Failure> {
    let path = format!("/internal/buyers/{}", kit::encode(username));
    match peer::call(ORDERS, Method::Delete, &path, None)? {
        (200, _) => Ok(()),
        (status, _) => {
            eprintln!("{ORDERS} answered {status}");
            Err(Failure::unavailable("SERVICE_BUSY", "Orders cannot be changed just now.", 1))
        }
    }
}
