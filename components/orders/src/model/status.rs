//! How far an order got, and who may take it further.

use serde::Serialize;

use super::Refusal;

/// How far an order got. Delivered and cancelled are ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Placed, and its stock taken.
    Pending,
    /// Paid for.
    Paid,
    /// On its way.
    Shipped,
    /// With the buyer.
    Delivered,
    /// Called off before it left, and its stock given back.
    Cancelled,
}

/// What a caller may do with an order that it may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Cancel.
    Buyer,
    /// Take every legal step.
    Admin,
}

/// What is to be done so that an order has a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it has it already.
    Stay,
    /// One legal step.
    Go,
}

impl Status {
    /// The status that a text names, exactly.
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

    /// The text that names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Paid => "paid",
            Status::Shipped => "shipped",
            Status::Delivered => "delivered",
            Status::Cancelled => "cancelled",
        }
    }

    /// Whether an order may go from this status to another one, and whether there is anything to do.
    ///
    /// # Errors
    ///
    /// `IllegalStep` for everybody, `NotForBuyers` for a step that is legal for others.
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

    /// One row for each status, one column for what it is to become, in the order of `ALL`: `=` stays, `b` is a step for the
    /// buyer too, `a` for an administrator alone, `.` for nobody.
    const MATRIX: [&str; 5] = [
        "=a..b", // pending
        ".=a.b", // paid
        "..=a.", // shipped
        "...=.", // delivered
        "....=", // cancelled
    ];

    #[test]
    fn every_step_by_everyone_is_as_the_matrix_says() {
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
    fn a_status_has_one_name_everywhere() {
        for status in ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
    }

    #[test]
    fn other_texts_name_no_status() {
        for text in ["", "Paid", "PAID", " paid", "canceled", "refunded", "pending\0"] {
            assert_eq!(Status::parse(text), None, "{text:?}");
        }
    }
}
