//! What becomes of a refresh token that somebody presents.
//!
//! A session's tokens form a line: each use makes the next generation, and only the newest is good. An older one means
//! that two parties hold tokens of the session, so it ends, for both. One case is innocent: a client that sends the same
//! token twice at once, or lost the answer, presents the immediate parent a moment later.
//!
//! The newest token and its parent are stored. What is older is known by its family ([`super::refresh_token`]).

/// Each new token is good for this long: 30 days.
pub(crate) const LIFETIME_MS: i64 = 30 * 24 * 3600 * 1000;
/// How long the parent of the newest token may come back without harm.
const RACE_MS: i64 = 10_000;

/// A refresh token as it is known when it is presented.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Presented {
    /// Its place in the session's line.
    pub(crate) generation: i64,
    /// The place of the newest, the only one not used yet.
    pub(crate) newest_generation: i64,
    /// When it was exchanged for the next.
    pub(crate) used_at: Option<i64>,
    pub(crate) expires_at: i64,
}

/// What to do about it. The client learns nothing of the difference between the last two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Exchange it for the next.
    Rotate,
    /// Refuse it and let the session live.
    Refuse,
    /// Refuse it and end the session: it was stolen.
    EndSession,
}

impl Presented {
    /// Judges the token at this instant.
    pub(crate) fn judge(&self, now: i64) -> Judgement {
        match self.used_at {
            None if now >= self.expires_at => Judgement::Refuse,
            None => Judgement::Rotate,
            // The successor of the immediate parent is the newest, so it was not used yet.
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
    fn a_grandparent_is_theft_however_quick() {
        assert_eq!(token(1, 3, Some(NOW)).judge(NOW), Judgement::EndSession);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_end_sessions() {
        assert_eq!(token(1, 2, Some(NOW)).judge(NOW - 3_600_000), Judgement::Refuse);
    }
}
