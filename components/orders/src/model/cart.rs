//! The cart: the products and quantities of a request, before the database is read.

use std::collections::BTreeMap;
use std::fmt;

use kit::{JsonObject, JsonValue};

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
    /// Parses the member `items`: `[{"product_id": 1, "quantity": 2}, …]`. Adds up the lines of one product.
    ///
    /// Only `5` is an integer. `5.0` and `5e0` are not, although they are equal.
    ///
    /// # Errors
    ///
    /// `NoItems` if there is no list or it is empty. `TooManyLines`, `BadLine` or `TooMany` for a bad list.
    pub fn read(body: &JsonObject) -> Result<Cart, Refusal> {
        let items = match body.get("items") {
            Some(JsonValue::Array(items)) if items.is_empty() => return Err(Refusal::NoItems("is empty")),
            Some(JsonValue::Array(items)) => items,
            Some(_) => return Err(Refusal::NoItems("has another type")),
            None => return Err(Refusal::NoItems("is missing")),
        };
        if items.len() > LINES_LIMIT {
            return Err(Refusal::TooManyLines);
        }
        let mut quantities = BTreeMap::new();
        for (number, item) in (1..).zip(items) {
            let line = Line::read(item).map_err(|fault| Refusal::BadLine { line: number, fault })?;
            // Cannot overflow: there are at most 100 lines of at most a million.
            *quantities.entry(line.product).or_insert(0) += line.quantity;
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

impl Line {
    fn read(item: &JsonValue) -> Result<Line, &'static str> {
        let item = item.as_object().ok_or("it must be an object with `product_id` and `quantity`")?;
        let integer = |name| item.get(name).and_then(JsonValue::as_i64);
        let product = integer("product_id").ok_or("`product_id` must be an integer")?;
        let quantity = integer("quantity").filter(|quantity| (1..=QUANTITY_LIMIT).contains(quantity));
        let quantity = quantity.ok_or("`quantity` must be an integer from 1 to 1000000")?;
        Ok(Line { product, quantity })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(items: &str) -> Result<Vec<(i64, i64)>, Refusal> {
        let body = serde_json::from_str(&format!(r#"{{"items":{items}}}"#)).unwrap();
        let lines = Cart::read(&body)?.lines;
        Ok(lines.iter().map(|line| (line.product, line.quantity)).collect())
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
            // serde_json already refuses to parse a number that no double can hold.
            let refused = serde_json::from_str::<JsonValue>(&body).is_err() || read(&body).is_err();
            assert!(refused, "{quantity}");
        }
    }

    #[test]
    fn a_product_id_is_an_integer() {
        for product in ["1.0", "\"1\"", "null", "true", "9223372036854775808", "[1]"] {
            let items = format!(r#"[{{"product_id":{product},"quantity":1}}]"#);
            assert!(matches!(read(&items), Err(Refusal::BadLine { line: 1, .. })), "{product}");
        }
    }

    #[test]
    fn the_refusal_contains_the_number_of_the_bad_line() {
        let good = r#"{"product_id":1,"quantity":1}"#;
        for bad in ["1", "null", "[]", "\"x\"", "{}", r#"{"product_id":1}"#, r#"{"quantity":1}"#] {
            let refusal = read(&format!("[{good},{bad}]"));
            assert!(matches!(refusal, Err(Refusal::BadLine { line: 2, .. })), "{bad}: {refusal:?}");
        }
    }

    #[test]
    fn items_must_be_a_list_that_is_not_empty() {
        for items in ["[]", "null", "{}", "\"x\"", "1", "true"] {
            assert!(matches!(read(items), Err(Refusal::NoItems(_))), "{items}");
        }
        assert!(matches!(Cart::read(&JsonObject::new()), Err(Refusal::NoItems(_))));
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
