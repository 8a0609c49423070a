//! Money: an integer of cents in the code, a decimal number in JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// An amount of money in cents. In the database it is an integer. In JSON it is a number with a decimal point: `1299.0`, `59.97`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Cents(#[schemars(with = "f64", range(min = 0, max = 10_000_000_000_000_i64))] pub i64);

impl Cents {
    /// The highest amount that can be stored: ten trillion.
    ///
    /// Up to it, an amount has at most 15 digits. Any decimal number of 15 digits survives the conversion to a double and back.
    /// So dividing the cents by 100 and printing the double gives exactly the amount.
    pub const LIMIT: Cents = Cents(1_000_000_000_000_000);

    /// The amount times a quantity. None if the result is higher than [`Cents::LIMIT`].
    pub fn times(self, quantity: i64) -> Option<Cents> {
        self.0.checked_mul(quantity).map(Cents).filter(|cents| *cents <= Cents::LIMIT)
    }

    /// The sum of two amounts. None if it is higher than [`Cents::LIMIT`].
    pub fn plus(self, other: Cents) -> Option<Cents> {
        self.0.checked_add(other.0).map(Cents).filter(|cents| *cents <= Cents::LIMIT)
    }
}

impl Serialize for Cents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[allow(clippy::cast_precision_loss, reason = "see Cents::LIMIT")]
        let amount = self.0 as f64 / 100.0;
        serializer.serialize_f64(amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Formats an amount as JSON.
    fn written(cents: i64) -> String {
        serde_json::to_string(&Cents(cents)).unwrap()
    }

    /// Formats an amount with integer arithmetic, without a second decimal if that is 0.
    fn exact(cents: i64) -> String {
        let text = format!("{}.{:02}", cents / 100, cents % 100);
        text.strip_suffix('0').map_or(text.clone(), str::to_owned)
    }

    /// Parses an amount digit by digit, as a client without doubles would.
    fn read(text: &str) -> i64 {
        let (whole, decimals) = text.split_once('.').unwrap();
        whole.parse::<i64>().unwrap() * 100 + format!("{decimals:0<2}").parse::<i64>().unwrap()
    }

    #[test]
    fn amounts_have_the_format_of_python() {
        let table = [
            (0, "0.0"),
            (1, "0.01"),
            (10, "0.1"),
            (99, "0.99"),
            (100, "1.0"),
            (5_997, "59.97"),
            (34_900, "349.0"),
            (129_900, "1299.0"),
            (999_999_999_999_999, "9999999999999.99"),
            (1_000_000_000_000_000, "10000000000000.0"),
        ];
        for (cents, text) in table {
            assert_eq!(written(cents), text);
        }
    }

    #[test]
    fn amounts_survive_formatting_and_parsing() {
        // A linear congruential generator, so every run tests the same amounts. They have one digit to fifteen.
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        let random = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let digits = u32::try_from(state >> 60).unwrap().min(15);
            i64::try_from((state >> 8) % 10_u64.pow(digits)).unwrap()
        });
        let highest = Cents::LIMIT.0 - 100_000..=Cents::LIMIT.0;
        for cents in (0..200_000).chain(highest).chain(random.take(500_000)) {
            let text = written(cents);
            assert_eq!(text, exact(cents));
            assert_eq!(read(&text), cents);
            let double: f64 = text.parse().unwrap();
            assert_eq!((double * 100.0).round() as i64, cents, "a client that parses a double gets the same cents");
        }
    }

    #[test]
    fn sums_stop_at_the_limit() {
        assert_eq!(Cents(129_900).times(3), Some(Cents(389_700)));
        assert_eq!(Cents::LIMIT.times(1), Some(Cents::LIMIT));
        assert_eq!(Cents::LIMIT.times(2), None);
        assert_eq!(Cents(i64::MAX).times(1_000_000), None);
        assert_eq!(Cents(1).plus(Cents(2)), Some(Cents(3)));
        assert_eq!(Cents::LIMIT.plus(Cents(1)), None);
        assert_eq!(Cents(i64::MAX).plus(Cents(1)), None);
    }
}
