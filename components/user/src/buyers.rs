//! Calls to orders: removes deleted users from their orders.

use kit::{Failure, Method, peer};

/// The service that keeps orders. It stores the buyer's username in each order.
const ORDERS: &str = "orders";

/// Asks orders to remove a username from all orders, so that a new user with the same name does not see them.
///
/// # Errors
/// 503 if orders failed or has not finished. A second call continues.
pub(crate) fn forget(username: &str) -> Result<(), Failure> {
    let path = format!("/internal/buyers/{}", kit::encode(username));
    match peer::call(ORDERS, Method::Delete, &path, None)? {
        (200, _) => Ok(()),
        (status, _) => {
            kit::log::warn!("cannot remove a username from its orders: {ORDERS} answered {status}");
            Err(Failure::unavailable("SERVICE_BUSY", "The user's orders cannot be changed now. Try again.", 1))
        }
    }
}
