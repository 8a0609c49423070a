//! The rate-limit headers (IETF draft-ietf-httpapi-ratelimit-headers).

/// A rate limit: a number of requests in a time window. Clients see its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The name: letters and dashes.
    pub name: &'static str,
    /// Requests per window.
    pub requests: u32,
    /// Length of the window.
    pub window_seconds: u32,
}

impl Quota {
    /// The value of `RateLimit-Policy`: all limits of a route.
    pub fn policy(quotas: &[Quota]) -> String {
        let items = quotas
            .iter()
            .map(|Quota { name, requests, window_seconds }| format!("\"{name}\";q={requests};w={window_seconds}"));
        items.collect::<Vec<_>>().join(", ")
    }

    /// The value of `RateLimit` if no request has been used.
    pub fn unused(&self) -> String {
        format!("\"{}\";r={}", self.name, self.requests)
    }

    /// The value of `RateLimit` if no request is left for `seconds`. `Retry-After` has the same number.
    pub fn used_up(&self, seconds: u32) -> String {
        format!("\"{}\";r=0;t={seconds}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_values_follow_the_draft() {
        let burst = Quota { name: "burst", requests: 100, window_seconds: 60 };
        let daily = Quota { name: "daily", requests: 1000, window_seconds: 86_400 };
        assert_eq!(Quota::policy(&[burst, daily]), "\"burst\";q=100;w=60, \"daily\";q=1000;w=86400");
        assert_eq!(burst.unused(), "\"burst\";r=100");
        assert_eq!(daily.used_up(21), "\"daily\";r=0;t=21");
    }
}
