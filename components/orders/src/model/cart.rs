//! What a client wants to order, before anything is looked up.

use std::collections::BTreeMap;
use std::fmt;

use kit::{JsonObject, JsonValue};

use super::Refusal;

/// How many lines an order may be written in.
pub const LINES_LIMIT: usize = 100;

/// How many pieces of one product an order may hold.
pub const QUANTITY_LIMIT: i64 = 1_000_000;

/// What to order: every product once, by id, so that two orders take their stock in the same order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cart {
    lines: Vec<Line>,
}

/// Some pieces of one product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which product. Whether there is one is not known yet.
    pub product: i64,
    /// How many, from 1 to [`QUANTITY_LIMIT`].
    pub quantity: i64,
}

/// Equal for equal carts: `1:2,3:1` for two of the product 1 and one of the product 3.
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
    /// Reads the member `items`: `[{"product_id": 1, "quantity": 2}, …]`. Lines of the same product are added up.
    ///
    /// A number counts as an integer if it is written as one: `5` is, `5.0` and `5e0` are not, although they are equal.
    ///
    /// # Errors
    ///
    /// `NoItems` if there is no list or nothing in it; `TooManyLines`, `BadLine` or `TooMany` for what is in it.
    pub fn read(body: &JsonObject) -> Result<Cart, Refusal> {
        let items = match body.get("items") {
            Some(JsonValue::Array(items)) if items.is_empty() => return Err(Refusal::NoItems("is empty")),
            Some(JsonValue::Array(items)) => items,
            Some(_) => return Err(Refusal::NoItems("is something else")),
            None => return Err(Refusal::NoItems("is not there")),
        };
        if items.len() > LINES_LIMIT {
            return Err(Refusal::TooManyLines);
        }
        let mut quantities = BTreeMap::new();
        for (number, item) in (1..).zip(items) {
            let line = Line::read(item).map_err(|fault| Refusal::BadLine { line: number, fault })?;
            // A hundred lines of a million each are far from an overflow.
            *quantities.entry(line.product).or_insert(0) += line.quantity;
        }
        let lines: Vec<Line> = quantities.into_iter().map(|(product, quantity)| Line { product, quantity }).collect();
        match lines.iter().find(|line| line.quantity > QUANTITY_LIMIT) {
            Some(line) => Err(Refusal::TooMany { product: line.product }),
            None => Ok(Cart { lines }),
        }
    }

    /// The lines, by product.
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
    fn lines_are_read_in_the_order_of_their_products() {
        let items = r#"[{"product_id":3,"quantity":1},{"product_id":1,"quantity":1000000,"note":"ignored"}]"#;
        assert_eq!(read(items), Ok(vec![(1, 1_000_000), (3, 1)]));
    }

    #[test]
    fn lines_of_the_same_product_are_added_up() {
        let line = r#"{"product_id":1,"quantity":6}"#;
        assert_eq!(read(&format!("[{line},{line}]")), Ok(vec![(1, 12)]));
    }

    #[test]
    fn the_sum_of_lines_is_held_to_the_limit_of_one() {
        let half = r#"{"product_id":1,"quantity":500000}"#;
        let one = r#"{"product_id":1,"quantity":1}"#;
        assert_eq!(read(&format!("[{half},{half}]")), Ok(vec![(1, QUANTITY_LIMIT)]));
        assert_eq!(read(&format!("[{half},{half},{one}]")), Err(Refusal::TooMany { product: 1 }));
    }

    #[test]
    fn a_quantity_is_an_integer_as_written_from_one_to_a_million() {
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
            // A number that no double holds is refused one step before: it is not JSON to serde_json.
            let refused = serde_json::from_str::<JsonValue>(&body).is_err() || read(&body).is_err();
            assert!(refused, "{quantity}");
        }
    }

    #[test]
    fn a_product_is_named_by_an_integer() {
        for product in ["1.0", "\"1\"", "null", "true", "9223372036854775808", "[1]"] {
            let items = format!(r#"[{{"product_id":{product},"quantity":1}}]"#);
            assert!(matches!(read(&items), Err(Refusal::BadLine { line: 1, .. })), "{product}");
        }
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        let good = r#"{"product_id":1,"quantity":1}"#;
        for bad in ["1", "null", "[]", "\"x\"", "{}", r#"{"product_id":1}"#, r#"{"quantity":1}"#] {
            let refusal = read(&format!("[{good},{bad}]"));
            assert!(matches!(refusal, Err(Refusal::BadLine { line: 2, .. })), "{bad}: {refusal:?}");
        }
    }

    #[test]
    fn a_list_with_something_in_it_is_needed() {
        for items in ["[]", "null", "{}", "\"x\"", "1", "true"] {
            assert!(matches!(read(items), Err(Refusal::NoItems(_))), "{items}");
        }
        assert!(matches!(Cart::read(&JsonObject::new()), Err(Refusal::NoItems(_))));
    }

    #[test]
    fn a_hundred_lines_are_enough() {
        let lines = |count: usize| {
            let lines: Vec<String> = (1..=count).map(|id| format!(r#"{{"product_id":{id},"quantity":1}}"#)).collect();
            format!("[{}]", lines.join(","))
        };
        assert_eq!(read(&lines(LINES_LIMIT)).unwrap().len(), LINES_LIMIT);
        assert_eq!(read(&lines(LINES_LIMIT + 1)), Err(Refusal::TooManyLines));
    }
}
