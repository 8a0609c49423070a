//! Decides what happens to a refresh token that a client presents.
//!
//! The tokens of a session form a line of generations. Each refresh creates the next generation, and only the newest is valid.
//! An older token means that two parties hold tokens of the session, so the session ends for both. One case is innocent: a
//! client that sends a token twice, or missed the response, presents the newest token's parent a moment later.
//!
//! Auth stores the newest token and its parent, and recognises older ones by their family ([`super::refresh_token`]).

/// Lifetime of a refresh token: 30 days.
pub(crate) const LIFETIME_MS: i64 = 30 * 24 * 3600 * 1000;
/// How long a client may present the newest token's parent without ending the session.
const RACE_MS: i64 = 10_000;

/// The stored state of a presented refresh token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Presented {
    /// Its generation, from 1.
    pub(crate) generation: i64,
    /// The generation of the newest token, the only unused one.
    pub(crate) newest_generation: i64,
    /// When a refresh used it. None for an unused token.
    pub(crate) used_at: Option<i64>,
    pub(crate) expires_at: i64,
}

/// What to do with a presented token. The client cannot tell the last two apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Exchange it for the next generation.
    Rotate,
    /// Refuse it. The session stays open.
    Refuse,
    /// Refuse it and end the session, because it was stolen.
    EndSession,
}

impl Presented {
    /// Judges the token at the time `now`.
    pub(crate) fn judge(&self, now: i64) -> Judgement {
        match self.used_at {
            None if now >= self.expires_at => Judgement::Refuse,
            None => Judgement::Rotate,
            // The parent of the newest token: a race between two requests of one client.
            Some(used_at) if self.generation + 1 == self.newest_generation && now - used_at <= RACE_MS => {
                Judgement::Refuse
            }
            Some(_) => Judgement::EndSession,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn token(generation: i64, newest_generation: i64, used_at: Option<i64>) -> Presented {
        Presented { generation, newest_generation, used_at, expires_at: NOW + LIFETIME_MS }
    }

    #[test]
    fn the_newest_token_is_exchanged_until_it_expires() {
        let newest = token(3, 3, None);
        assert_eq!(newest.judge(NOW), Judgement::Rotate);
        assert_eq!(newest.judge(newest.expires_at - 1), Judgement::Rotate);
        assert_eq!(newest.judge(newest.expires_at), Judgement::Refuse);
    }

    #[test]
    fn the_parent_again_within_ten_seconds_is_a_race() {
        assert_eq!(token(1, 2, Some(NOW)).judge(NOW), Judgement::Refuse);
        assert_eq!(token(1, 2, Some(NOW)).judge(NOW + 10_000), Judgement::Refuse);
    }

    #[test]
    fn the_parent_later_than_ten_seconds_is_theft() {
        assert_eq!(token(1, 2, Some(NOW)).judge(NOW + 10_001), Judgement::EndSession);
    }

    #[test]
    fn a_grandparent_is_theft_at_any_time() {
        assert_eq!(token(1, 3, Some(NOW)).judge(NOW), Judgement::EndSession);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_end_sessions() {
        assert_eq!(token(1, 2, Some(NOW)).judge(NOW - 3_600_000), Judgement::Refuse);
    }
}
