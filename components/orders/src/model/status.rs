//! The status of an order, and who may change it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Refusal;

/// The status of an order. Delivered and cancelled are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Placed. Its items are no longer in stock.
    Pending,
    /// Paid.
    Paid,
    /// On its way to the buyer.
    Shipped,
    /// Received by the buyer.
    Delivered,
    /// Cancelled before it was shipped. Its items are back in stock.
    Cancelled,
}

/// A change of an order. Unknown members are ignored.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct Change {
    /// The wanted status.
    #[schemars(with = "Status")]
    pub status: String,
}

/// The caller's rights on a visible order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// May cancel.
    Buyer,
    /// May take every legal step.
    Admin,
}

/// What a request for a status has to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: the order already has the status.
    Stay,
    /// The status: the step is legal.
    Go,
}

impl Status {
    /// Parses a status. The text must match exactly.
    pub fn parse(text: &str) -> Option<Status> {
        match text {
            "pending" => Some(Status::Pending),
            "paid" => Some(Status::Paid),
            "shipped" => Some(Status::Shipped),
            "delivered" => Some(Status::Delivered),
            "cancelled" => Some(Status::Cancelled),
            _ => None,
        }
    }

    /// The text in the database and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Paid => "paid",
            Status::Shipped => "shipped",
            Status::Delivered => "delivered",
            Status::Cancelled => "cancelled",
        }
    }

    /// Checks a change from this status to another one.
    ///
    /// # Errors
    ///
    /// `IllegalStep` if nobody may take the step, `NotForBuyers` if only administrators may.
    pub fn step_to(self, to: Status, power: Power) -> Result<Step, Refusal> {
        use Status::{Cancelled, Delivered, Paid, Pending, Shipped};
        match (self, to) {
            (from, to) if from == to => Ok(Step::Stay),
            (Pending | Paid, Cancelled) => Ok(Step::Go),
            (Pending, Paid) | (Paid, Shipped) | (Shipped, Delivered) => match power {
                Power::Admin => Ok(Step::Go),
                Power::Buyer => Err(Refusal::NotForBuyers),
            },
            (from, to) => Err(Refusal::IllegalStep { from, to }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Status; 5] = [Status::Pending, Status::Paid, Status::Shipped, Status::Delivered, Status::Cancelled];

    /// A row for each current status and a column for each new one, both in the order of `ALL`. `=` means no change, `b` a step
    /// for buyers and administrators, `a` only for administrators, `.` for nobody.
    const MATRIX: [&str; 5] = [
        "=a..b", // pending
        ".=a.b", // paid
        "..=a.", // shipped
        "...=.", // delivered
        "....=", // cancelled
    ];

    #[test]
    fn steps_match_the_matrix() {
        for (from, row) in ALL.into_iter().zip(MATRIX) {
            for (to, cell) in ALL.into_iter().zip(row.chars()) {
                let illegal = Err(Refusal::IllegalStep { from, to });
                let (buyer, admin) = match cell {
                    '=' => (Ok(Step::Stay), Ok(Step::Stay)),
                    'b' => (Ok(Step::Go), Ok(Step::Go)),
                    'a' => (Err(Refusal::NotForBuyers), Ok(Step::Go)),
                    _ => (illegal.clone(), illegal),
                };
                assert_eq!(from.step_to(to, Power::Buyer), buyer, "{from:?} to {to:?} by the buyer");
                assert_eq!(from.step_to(to, Power::Admin), admin, "{from:?} to {to:?} by an administrator");
            }
        }
    }

    #[test]
    fn a_status_has_one_text_everywhere() {
        for status in ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
    }

    #[test]
    fn other_texts_are_no_status() {
        for text in ["", "Paid", "PAID", " paid", "canceled", "refunded", "pending\0"] {
            assert_eq!(Status::parse(text), None, "{text:?}");
        }
    }
}
