//! What serves now: one deployment for everybody, and while a canary runs a second one for its share of the callers.
//!
//! A request takes one of the two when it begins and keeps it to the end, through the calls that its guest makes, so that
//! within one request all services are of the same deployment.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::deployment::{Deployment, Served, Vacancy};
use crate::route::RouteConflict;

/// What serves now. Never changed: a switch makes another.
#[derive(Default)]
pub struct Serving {
    stable: Arc<Deployment>,
    canary: Option<Canary>,
}

impl Serving {
    /// Builds both deployments.
    ///
    /// # Errors
    /// Two services that claim the same route.
    pub(super) fn new(
        services: BTreeMap<Arc<str>, Served>,
        vacant: BTreeMap<Arc<str>, Vacancy>,
        rollout: Option<Rollout>,
    ) -> Result<Self, RouteConflict> {
        let canary = rollout.map(|rollout| Canary::new(&services, &vacant, rollout)).transpose()?;
        Ok(Self { stable: Arc::new(Deployment::new(services, vacant)?), canary })
    }

    /// What serves everybody who is not part of the canary.
    pub fn stable(&self) -> &Arc<Deployment> {
        &self.stable
    }

    /// The canary, while one runs.
    pub fn canary(&self) -> Option<&Canary> {
        self.canary.as_ref()
    }

    /// Every revision that serves somebody or is on trial.
    pub fn all(&self) -> impl Iterator<Item = &Served> {
        let candidates = self.canary.iter().flat_map(|canary| canary.candidates().values());
        self.stable.services().values().chain(candidates.map(|candidate| &candidate.served))
    }

    /// The deployment in which a service has a revision whose digest begins with these digits: of the two that serve, no other.
    pub fn with_revision(&self, service: &str, digits: &str) -> Option<&Arc<Deployment>> {
        let has = |deployment: &Deployment| {
            let served = deployment.services().get(service);
            served.is_some_and(|served| served.revision.digest().starts_with(digits))
        };
        let canary = self.canary.as_ref().map(Canary::deployment).filter(|canary| has(canary));
        Some(&self.stable).filter(|stable| has(stable)).or(canary)
    }
}

/// New revisions of one or several services, tried together on a share of the callers, and put in charge together or not.
#[derive(Clone)]
pub(super) struct Rollout {
    pub(super) share: Share,
    /// The name of the set that is being staged. Nothing else may be added to it, and it alone promotes it.
    pub(super) set: Option<String>,
    pub(super) candidates: BTreeMap<Arc<str>, Candidate>,
}

/// A revision on trial.
#[derive(Clone)]
pub struct Candidate {
    /// The line of the history that began its trial.
    pub line: i64,
    /// What answers.
    pub served: Served,
}

/// A rollout, and the deployment that it makes.
pub struct Canary {
    rollout: Rollout,
    deployment: Arc<Deployment>,
}

impl Canary {
    fn new(
        stable: &BTreeMap<Arc<str>, Served>,
        vacant: &BTreeMap<Arc<str>, Vacancy>,
        rollout: Rollout,
    ) -> Result<Self, RouteConflict> {
        let mut services = stable.clone();
        services.extend(rollout.candidates.iter().map(|(name, candidate)| (name.clone(), candidate.served.clone())));
        Ok(Self { deployment: Arc::new(Deployment::new(services, vacant.clone())?), rollout })
    }

    pub(super) fn rollout(&self) -> &Rollout {
        &self.rollout
    }

    /// What serves the callers that are part of it.
    pub fn deployment(&self) -> &Arc<Deployment> {
        &self.deployment
    }

    /// The set that is being staged, if it is one.
    pub(super) fn set(&self) -> Option<&str> {
        self.rollout.set.as_deref()
    }

    /// The share of callers that are part of it.
    pub fn share(&self) -> Share {
        self.rollout.share
    }

    /// The revisions on trial, by service.
    pub fn candidates(&self) -> &BTreeMap<Arc<str>, Candidate> {
        &self.rollout.candidates
    }

    /// Whether a caller is part of it. The same callers always are, and a larger share only adds some.
    pub fn takes(&self, caller: &Caller) -> bool {
        // The oldest line is the same for as long as the canary lives, over restarts as well, and another for the next one.
        let salt = self.rollout.candidates.values().map(|candidate| candidate.line).min().unwrap_or_default();
        caller.bucket(salt) < self.rollout.share.0
    }
}

/// Who calls, as far as it decides which deployment answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Somebody with a good token.
    User(String),
    /// Anybody else, by address.
    Address(std::net::IpAddr),
}

impl Caller {
    /// One of as many buckets as a share has steps, the same at every time.
    fn bucket(&self, salt: i64) -> u16 {
        let hash = Sha256::new().chain_update(salt.to_be_bytes());
        let hash = match self {
            Self::User(name) => hash.chain_update([0]).chain_update(name),
            Self::Address(address) => hash.chain_update([1]).chain_update(address.to_canonical().to_string()),
        };
        let hash = hash.finalize();
        let number = hash.iter().take(6).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        u16::try_from(number % u64::from(Share::ALL.0)).unwrap_or_default()
    }
}

/// A share of callers, in hundredths of a per cent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

impl Share {
    /// Nobody: what is staged is reached by those alone who ask for it.
    pub const NOBODY: Self = Self(0);
    /// Everybody.
    pub const ALL: Self = Self(10_000);

    /// In hundredths of a per cent, 0 to 10,000.
    pub fn basis_points(self) -> u16 {
        self.0
    }

    /// From hundredths of a per cent; everybody where it is more than there are.
    pub fn from_basis_points(points: u16) -> Self {
        Self(points.min(Self::ALL.0))
    }
}

/// A text that is no share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a share of the callers is written like 5% or 0.25%, from 0% to 100%")]
pub struct ShareError;

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let number = text.strip_suffix('%').ok_or(ShareError)?;
        let (whole, hundredths) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(hundredths) || hundredths.len() > 2 {
            return Err(ShareError);
        }
        let number = |text: &str| text.parse::<u32>().map_err(|_| ShareError);
        let points = number(whole)? * 100 + number(&format!("{hundredths:0<2}"))?;
        u16::try_from(points).ok().map(Self).filter(|share| *share <= Self::ALL).ok_or(ShareError)
    }
}

impl Display for Share {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let (whole, hundredths) = (self.0 / 100, self.0 % 100);
        match hundredths {
            0 => write!(formatter, "{whole}%"),
            _ => write!(formatter, "{}%", format!("{whole}.{hundredths:02}").trim_end_matches('0')),
        }
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(count: usize) -> Vec<Caller> {
        (0..count).map(|number| Caller::User(format!("user-{number}"))).collect()
    }

    #[test]
    fn a_share_is_read_as_it_is_written() {
        for text in ["0%", "0.25%", "5%", "12.5%", "99.99%", "100%"] {
            assert_eq!(text.parse::<Share>().map(|share| share.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "%", "5", "-1%", "+5%", "101%", "100.01%", "5.%", ".5%", "0.123%", "1e1%", "5 %", "5%%"] {
            assert_eq!(text.parse::<Share>(), Err(ShareError), "{text}");
        }
    }

    #[test]
    fn a_share_of_the_callers_is_in_its_buckets_within_three_standard_deviations() {
        let callers = users(10_000);
        for points in [100_u16, 500, 1_000, 5_000] {
            let share = f64::from(points) / 10_000.0;
            let taken = callers.iter().filter(|caller| caller.bucket(7) < points).count();
            let deviation = (10_000.0 * share * (1.0 - share)).sqrt();
            #[allow(clippy::cast_precision_loss, reason = "at most ten thousand")]
            let off = (taken as f64 - 10_000.0 * share).abs();
            assert!(off <= 3.0 * deviation, "{taken} of 10000 are in {points} of 10000 buckets");
        }
    }

    #[test]
    fn another_canary_takes_other_callers_and_a_user_is_not_an_address() {
        let callers = users(1_000);
        let first: Vec<_> = callers.iter().map(|caller| caller.bucket(1)).collect();
        assert_eq!(first, callers.iter().map(|caller| caller.bucket(1)).collect::<Vec<_>>());
        assert_ne!(first, callers.iter().map(|caller| caller.bucket(2)).collect::<Vec<_>>());
        let address = "127.0.0.1".parse().map(Caller::Address);
        let mapped = "::ffff:127.0.0.1".parse().map(Caller::Address);
        let buckets = [address, mapped].map(|caller| caller.map(|caller| caller.bucket(1)).ok());
        assert_eq!(buckets[0], buckets[1]);
        assert_ne!(buckets[0], Some(Caller::User("127.0.0.1".to_owned()).bucket(1)));
    }
}
