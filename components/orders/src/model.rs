//! Products and orders, and the rules for them. Pure: no HTTP, no SQL, no clock.

mod cart;
mod cents;
mod status;

use std::fmt;

use kit::clock::DateTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use cart::{Cart, LINES_LIMIT, Line, NewLine, NewOrder, QUANTITY_LIMIT};
pub use cents::Cents;
pub use status::{Change, Power, Status, Step};

/// Replaces the username of a deleted buyer. It cannot be a username, because it starts with white space.
pub const FORMER_BUYER: &str = " former user";

/// A product.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
pub struct Product<'a> {
    /// The id in paths and carts.
    #[schemars(range(min = 1))]
    pub id: i64,
    /// The name that customers see.
    #[schemars(length(min = 1))]
    pub name: &'a str,
    /// The current price of one piece.
    pub price: Cents,
    /// The description that customers see.
    pub description: &'a str,
    /// How many pieces are in stock.
    #[schemars(range(min = 0))]
    pub stock: i64,
    /// `YYYY-MM-DD HH:MM:SS`, UTC.
    #[schemars(with = "DateTime")]
    pub date_creation: &'a str,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Order {
    /// Never reused for another order.
    #[schemars(range(min = 1))]
    pub id: i64,
    /// The buyer's username, or ` former user` if the buyer was deleted.
    #[schemars(length(min = 1))]
    pub user_id: String,
    /// The sum of its items at the prices of the moment it was placed.
    pub total: Cents,
    /// The current status.
    pub status: Status,
    /// `YYYY-MM-DD HH:MM:SS`, UTC.
    #[schemars(with = "DateTime")]
    pub date_creation: String,
    /// One item for each product, ordered by product id.
    #[schemars(length(min = 1, max = 100))]
    pub items: Vec<Item>,
}

/// An item of an order: some pieces of one product.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Item {
    /// Unique among the items of all orders.
    #[schemars(range(min = 1))]
    pub id: i64,
    /// The order that the item belongs to.
    #[schemars(range(min = 1))]
    pub order_id: i64,
    /// The product. It may have been changed or deleted since.
    #[schemars(range(min = 1))]
    pub product_id: i64,
    /// The product's name when the order was placed.
    pub product_name: String,
    /// Number of pieces.
    #[schemars(range(min = 1, max = QUANTITY_LIMIT))]
    pub quantity: i64,
    /// The price of one piece when the order was placed.
    pub price: Cents,
}

/// Why a request is refused. `Display` is the message for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The list of items is empty.
    NoItems,
    /// The cart has more than [`LINES_LIMIT`] lines.
    TooManyLines,
    /// The lines for one product add up to more than [`QUANTITY_LIMIT`].
    TooMany {
        /// The product's id.
        product: i64,
    },
    /// The cart names a product that does not exist.
    UnknownProduct {
        /// The product's id.
        product: i64,
    },
    /// The stock is smaller than the ordered quantity.
    OutOfStock {
        /// The product's id.
        product: i64,
    },
    /// The total is higher than [`Cents::LIMIT`].
    TotalTooHigh,
    /// The path names a product that does not exist.
    NoSuchProduct,
    /// The order does not exist, or the caller may not see it.
    NoSuchOrder,
    /// The text is not a status.
    UnknownStatus,
    /// No order can change from one status to the other.
    IllegalStep {
        /// The current status.
        from: Status,
        /// The requested status.
        to: Status,
    },
    /// Only administrators may take this step.
    NotForBuyers,
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoItems => out.write_str("`items` must be a list of products to order, but it is empty."),
            Refusal::TooManyLines => write!(out, "An order has at most {LINES_LIMIT} lines."),
            Refusal::TooMany { product } => {
                write!(out, "An order has at most {QUANTITY_LIMIT} pieces of product {product}.")
            }
            Refusal::UnknownProduct { product } => write!(out, "There is no product {product}."),
            Refusal::OutOfStock { product } => write!(out, "Product {product} does not have enough pieces in stock."),
            Refusal::TotalTooHigh => out.write_str("The total of this order is too high."),
            Refusal::NoSuchProduct => out.write_str("There is no such product."),
            Refusal::NoSuchOrder => out.write_str("There is no such order."),
            Refusal::UnknownStatus => out.write_str("`status` must be pending, paid, shipped, delivered or cancelled."),
            Refusal::IllegalStep { from, to } => {
                write!(out, "The order is {} and cannot become {}.", from.as_str(), to.as_str())
            }
            Refusal::NotForBuyers => out.write_str("The buyer may only cancel an order."),
        }
    }
}
