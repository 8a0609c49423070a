//! What every server and every client of the bench has to agree on.

/// Units in stock of each product: more than any benchmark can buy.
pub const STOCK: u32 = 1_000_000_000;

/// The body of every order.
pub const ORDER: &str = r#"{"items":[{"product_id":2,"quantity":1}]}"#;

/// The body of every login: the seeded administrator.
pub const LOGIN: &str = r#"{"username":"admin","password":"admin"}"#;
