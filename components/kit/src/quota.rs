//! How often a client may do something, as it is told (IETF draft-ietf-httpapi-ratelimit-headers).

/// So many requests in a span of time, under a name that clients see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Letters and dashes.
    pub name: &'static str,
    /// How many there are in the window.
    pub requests: u32,
    /// In seconds.
    pub window_seconds: u32,
}

impl Quota {
    /// The value of `RateLimit-Policy`: all that a route is bounded by.
    pub fn policy(quotas: &[Quota]) -> String {
        let items = quotas
            .iter()
            .map(|Quota { name, requests, window_seconds }| format!("\"{name}\";q={requests};w={window_seconds}"));
        items.collect::<Vec<_>>().join(", ")
    }

    /// The value of `RateLimit` while all of it is there.
    pub fn unused(&self) -> String {
        format!("\"{}\";r={}", self.name, self.requests)
    }

    /// The value of `RateLimit` while nothing is left for so many seconds, which `Retry-After` says too.
    pub fn used_up(&self, seconds: u32) -> String {
        format!("\"{}\";r=0;t={seconds}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_strings_and_numbers_their_parameters() {
        let burst = Quota { name: "burst", requests: 100, window_seconds: 60 };
        let daily = Quota { name: "daily", requests: 1000, window_seconds: 86_400 };
        assert_eq!(Quota::policy(&[burst, daily]), "\"burst\";q=100;w=60, \"daily\";q=1000;w=86400");
        assert_eq!(burst.unused(), "\"burst\";r=100");
        assert_eq!(daily.used_up(21), "\"daily\";r=0;t=21");
    }
}
