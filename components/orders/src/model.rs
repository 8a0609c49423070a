//! What products and orders are, and what may be done with them. Pure: knows no HTTP, no SQL and no clock.

mod cart;
mod cents;
mod status;

use std::fmt;

use serde::Serialize;

pub use cart::{Cart, LINES_LIMIT, Line, QUANTITY_LIMIT};
pub use cents::Cents;
pub use status::{Power, Status, Step};

/// The buyer of an order whose buyer is gone. No user is called so: a username does not start with white space.
pub const FORMER_BUYER: &str = " former user";

/// Something for sale. Borrows its texts from the row it was read from.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Product<'a> {
    /// Names it in paths and carts.
    pub id: i64,
    /// For people.
    pub name: &'a str,
    /// Of one piece, now.
    pub price: Cents,
    /// For people.
    pub description: &'a str,
    /// How many can be sold.
    pub stock: i64,
    /// `YYYY-MM-DD HH:MM:SS`, UTC.
    pub date_creation: &'a str,
}

/// What somebody bought.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Order {
    /// Never given to another order.
    pub id: i64,
    /// The buyer's username, or [`FORMER_BUYER`].
    pub user_id: String,
    /// The sum of its items when it was placed.
    pub total: Cents,
    /// How far it got.
    pub status: Status,
    /// `YYYY-MM-DD HH:MM:SS`, UTC.
    pub date_creation: String,
    /// By product, each product once.
    pub items: Vec<Item>,
}

/// Some pieces of one product in an order, as it was sold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Item {
    /// Names it among all items.
    pub id: i64,
    /// The order it belongs to.
    pub order_id: i64,
    /// The product, which may have changed since or be gone.
    pub product_id: i64,
    /// The product's name when the order was placed.
    pub product_name: String,
    /// How many pieces.
    pub quantity: i64,
    /// Of one piece, when the order was placed.
    pub price: Cents,
}

/// Why a request was not done. Its text is for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is nothing to order. Says what is in its place.
    NoItems(&'static str),
    /// More than [`LINES_LIMIT`] lines.
    TooManyLines,
    /// A line that is no order of anything.
    BadLine {
        /// Which one, from 1.
        line: usize,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The lines of a product add up to more than [`QUANTITY_LIMIT`].
    TooMany {
        /// Which product.
        product: i64,
    },
    /// Nothing is for sale under this id.
    UnknownProduct {
        /// The id.
        product: i64,
    },
    /// Less is there than was ordered.
    OutOfStock {
        /// Which product.
        product: i64,
    },
    /// The total is beyond [`Cents::LIMIT`].
    TotalTooHigh,
    /// The product asked for is not there.
    NoSuchProduct,
    /// The order asked for is not there, or not the caller's to see.
    NoSuchOrder,
    /// No status was given.
    NoStatus,
    /// The text is no status.
    UnknownStatus,
    /// An order does not go from this status to that one.
    IllegalStep {
        /// What it is.
        from: Status,
        /// What it was to become.
        to: Status,
    },
    /// The step is legal, and not the buyer's to take.
    NotForBuyers,
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoItems(what) => write!(out, "`items` must be a list of what to order, and {what}."),
            Refusal::TooManyLines => write!(out, "An order has at most {LINES_LIMIT} lines."),
            Refusal::BadLine { line, fault } => write!(out, "Line {line} of `items`: {fault}."),
            Refusal::TooMany { product } => {
                write!(out, "At most {QUANTITY_LIMIT} pieces of product {product} fit one order.")
            }
            Refusal::UnknownProduct { product } => write!(out, "There is no product {product}."),
            Refusal::OutOfStock { product } => write!(out, "There is not enough of product {product} in stock."),
            Refusal::TotalTooHigh => out.write_str("The total of this order is too high."),
            Refusal::NoSuchProduct => out.write_str("There is no such product."),
            Refusal::NoSuchOrder => out.write_str("There is no such order."),
            Refusal::NoStatus => out.write_str("`status` must say what the order shall become."),
            Refusal::UnknownStatus => out.write_str("`status` must be pending, paid, shipped, delivered or cancelled."),
            Refusal::IllegalStep { from, to } => {
                write!(out, "An order that is {} cannot become {}.", from.as_str(), to.as_str())
            }
            Refusal::NotForBuyers => out.write_str("The buyer may only cancel an order."),
        }
    }
}
