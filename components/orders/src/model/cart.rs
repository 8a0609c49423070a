//! The cart: the products and quantities of a request, before the database is read.

use std::collections::BTreeMap;
use std::fmt;

use kit::Int;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Refusal;

/// Maximum number of lines in a cart.
pub const LINES_LIMIT: usize = 100;

/// Maximum number of pieces of one product in an order.
pub const QUANTITY_LIMIT: i64 = 1_000_000;

/// The products to order. Each product occurs once.
///
/// Lines are sorted by product id, so all orders take stock in the same sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cart {
    lines: Vec<Line>,
}

/// The products to order. Unknown members are ignored.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct NewOrder {
    /// The lines of the order.
    #[schemars(length(min = 1, max = LINES_LIMIT))]
    pub items: Vec<NewLine>,
}

/// A number of pieces of one product.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub struct NewLine {
    product_id: i64,
    quantity: Int<1, QUANTITY_LIMIT>,
}

/// A number of pieces of one product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The product's id. The product may not exist.
    pub product: i64,
    /// Number of pieces, from 1 to [`QUANTITY_LIMIT`].
    pub quantity: i64,
}

/// Formats a cart as `1:2,3:1`: two pieces of product 1 and one of product 3. Equal carts give equal texts.
impl fmt::Display for Cart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Line { product, quantity }) in self.lines.iter().enumerate() {
            let separator = if number == 0 { "" } else { "," };
            write!(formatter, "{separator}{product}:{quantity}")?;
        }
        Ok(())
    }
}

impl Cart {
    /// The cart of a request. Adds up the lines of one product.
    ///
    /// # Errors
    ///
    /// `NoItems` if there is no line. `TooManyLines` or `TooMany` if there are too many.
    pub fn of(order: &NewOrder) -> Result<Cart, Refusal> {
        match order.items.len() {
            0 => return Err(Refusal::NoItems),
            1..=LINES_LIMIT => {}
            _ => return Err(Refusal::TooManyLines),
        }
        let mut quantities = BTreeMap::new();
        for NewLine { product_id, quantity } in &order.items {
            // Cannot overflow: there are at most 100 lines of at most a million.
            *quantities.entry(*product_id).or_insert(0) += quantity.get();
        }
        let lines: Vec<Line> = quantities.into_iter().map(|(product, quantity)| Line { product, quantity }).collect();
        match lines.iter().find(|line| line.quantity > QUANTITY_LIMIT) {
            Some(line) => Err(Refusal::TooMany { product: line.product }),
            None => Ok(Cart { lines }),
        }
    }

    /// The lines, sorted by product id.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(items: &str) -> Result<Vec<(i64, i64)>, Refusal> {
        let lines = Cart::of(&parse(items).unwrap())?.lines;
        Ok(lines.iter().map(|line| (line.product, line.quantity)).collect())
    }

    fn parse(items: &str) -> serde_json::Result<NewOrder> {
        serde_json::from_str(&format!(r#"{{"items":{items}}}"#))
    }

    #[test]
    fn lines_are_sorted_by_product() {
        let items = r#"[{"product_id":3,"quantity":1},{"product_id":1,"quantity":1000000,"note":"ignored"}]"#;
        assert_eq!(read(items), Ok(vec![(1, 1_000_000), (3, 1)]));
    }

    #[test]
    fn lines_of_the_same_product_are_added_up() {
        let line = r#"{"product_id":1,"quantity":6}"#;
        assert_eq!(read(&format!("[{line},{line}]")), Ok(vec![(1, 12)]));
    }

    #[test]
    fn the_sum_of_lines_has_the_limit_of_one_line() {
        let half = r#"{"product_id":1,"quantity":500000}"#;
        let one = r#"{"product_id":1,"quantity":1}"#;
        assert_eq!(read(&format!("[{half},{half}]")), Ok(vec![(1, QUANTITY_LIMIT)]));
        assert_eq!(read(&format!("[{half},{half},{one}]")), Err(Refusal::TooMany { product: 1 }));
    }

    #[test]
    fn a_quantity_is_an_integer_from_1_to_1_000_000() {
        for quantity in [
            "0",
            "-1",
            "-5",
            "1000001",
            "1.5",
            "5.0",
            "1e2",
            "5E0",
            "-0",
            "\"2\"",
            "\"\"",
            "true",
            "false",
            "null",
            "[]",
            "[1]",
            "{}",
            "9007199254740993",
            "9223372036854775807",
            "9223372036854775808",
            "18446744073709551616",
            "1e400000",
        ] {
            let body = format!(r#"[{{"product_id":1,"quantity":{quantity}}}]"#);
            assert!(parse(&body).is_err(), "{quantity}");
        }
    }

    #[test]
    fn a_product_id_is_an_integer() {
        for product in ["1.0", "\"1\"", "null", "true", "9223372036854775808", "[1]"] {
            let items = format!(r#"[{{"product_id":{product},"quantity":1}}]"#);
            assert!(parse(&items).is_err(), "{product}");
        }
    }

    #[test]
    fn a_cart_has_a_line() {
        assert_eq!(read("[]"), Err(Refusal::NoItems));
    }

    #[test]
    fn a_cart_has_at_most_100_lines() {
        let lines = |count: usize| {
            let lines: Vec<String> = (1..=count).map(|id| format!(r#"{{"product_id":{id},"quantity":1}}"#)).collect();
            format!("[{}]", lines.join(","))
        };
        assert_eq!(read(&lines(LINES_LIMIT)).unwrap().len(), LINES_LIMIT);
        assert_eq!(read(&lines(LINES_LIMIT + 1)), Err(Refusal::TooManyLines));
    }
}
