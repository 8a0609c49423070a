//! The deployments that answer requests: the stable one, and a second one for the callers of a running canary.
//!
//! A request picks one of the two when it begins and keeps it until its end. The calls that its guest makes to other services use the
//! same deployment.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::deployment::{Deployment, Served, Vacancy};
use crate::route::RouteConflict;

/// The current deployments. Immutable: a switch creates a new one.
#[derive(Default)]
pub struct Serving {
    stable: Arc<Deployment>,
    canary: Option<Canary>,
}

impl Serving {
    /// Builds both deployments. `kept` are the previous revisions that stay compiled. Each deployment answers for their assets, and for
    /// those of the other one.
    ///
    /// # Errors
    /// Two services claim the same route.
    pub(super) fn new(
        services: BTreeMap<Arc<str>, Served>,
        vacant: BTreeMap<Arc<str>, Vacancy>,
        rollout: Option<Rollout>,
        kept: &[Served],
    ) -> Result<Self, RouteConflict> {
        let candidates =
            rollout.iter().flat_map(|rollout| rollout.candidates.values().map(|candidate| &candidate.served));
        let earlier: Vec<Served> = candidates.chain(kept).cloned().collect();
        let canary = rollout.map(|rollout| Canary::new(&services, &vacant, rollout, kept)).transpose()?;
        Ok(Self { stable: Arc::new(Deployment::new(services, vacant, &earlier)?), canary })
    }

    /// The deployment of the active revisions, for all callers who are not part of the canary.
    pub fn stable(&self) -> &Arc<Deployment> {
        &self.stable
    }

    /// The running canary, if any.
    pub fn canary(&self) -> Option<&Canary> {
        self.canary.as_ref()
    }

    /// All active revisions, and all candidates of the canary.
    pub fn all(&self) -> impl Iterator<Item = &Served> {
        let candidates = self.canary.iter().flat_map(|canary| canary.candidates().values());
        self.stable.services().values().chain(candidates.map(|candidate| &candidate.served))
    }

    /// The current deployment, stable or canary, whose revision of this service has a digest that begins with `digits`.
    pub fn with_revision(&self, service: &str, digits: &str) -> Option<&Arc<Deployment>> {
        let has = |deployment: &Deployment| {
            let served = deployment.services().get(service);
            served.is_some_and(|served| served.revision.digest().starts_with(digits))
        };
        let canary = self.canary.as_ref().map(Canary::deployment).filter(|canary| has(canary));
        Some(&self.stable).filter(|stable| has(stable)).or(canary)
    }
}

/// The candidates of a canary. They serve the same callers, and become active together or not at all.
#[derive(Clone)]
pub(super) struct Rollout {
    pub(super) share: Share,
    /// The name of the set, if it is one. Only orders with this name may add to it, promote it or end it.
    pub(super) set: Option<String>,
    pub(super) candidates: BTreeMap<Arc<str>, Candidate>,
}

/// A new revision of one service that the canary serves.
#[derive(Clone)]
pub struct Candidate {
    /// The id of the history line that began the canary.
    pub line: i64,
    /// The revision, with its routes.
    pub served: Served,
}

/// A running canary: its candidates, and the deployment in which they replace the active revisions.
pub struct Canary {
    rollout: Rollout,
    deployment: Arc<Deployment>,
}

impl Canary {
    fn new(
        stable: &BTreeMap<Arc<str>, Served>,
        vacant: &BTreeMap<Arc<str>, Vacancy>,
        rollout: Rollout,
        kept: &[Served],
    ) -> Result<Self, RouteConflict> {
        let replaced = rollout.candidates.keys().filter_map(|name| stable.get(name));
        let earlier: Vec<Served> = replaced.chain(kept).cloned().collect();
        let mut services = stable.clone();
        services.extend(rollout.candidates.iter().map(|(name, candidate)| (name.clone(), candidate.served.clone())));
        Ok(Self { deployment: Arc::new(Deployment::new(services, vacant.clone(), &earlier)?), rollout })
    }

    pub(super) fn rollout(&self) -> &Rollout {
        &self.rollout
    }

    /// The deployment for the callers who are part of the canary.
    pub fn deployment(&self) -> &Arc<Deployment> {
        &self.deployment
    }

    /// The name of the set, if the canary is one.
    pub fn set(&self) -> Option<&str> {
        self.rollout.set.as_deref()
    }

    /// The share of the callers who are part of the canary.
    pub fn share(&self) -> Share {
        self.rollout.share
    }

    /// The candidates, by service.
    pub fn candidates(&self) -> &BTreeMap<Arc<str>, Candidate> {
        &self.rollout.candidates
    }

    /// Whether a caller is part of the canary. A caller in the canary stays in it, because a larger share only
    /// adds callers.
    pub fn takes(&self, caller: &Caller) -> bool {
        // The oldest line stays the same as long as the canary runs, even over restarts. The next canary has another one.
        let salt = self.rollout.candidates.values().map(|candidate| candidate.line).min().unwrap_or_default();
        caller.bucket(salt) < self.rollout.share.0
    }
}

/// The identity of a caller that decides whether the canary answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A user with a valid token, by name.
    User(String),
    /// An anonymous caller, by address.
    Address(std::net::IpAddr),
}

impl Caller {
    /// The caller's bucket, 0 to 9,999. Constant for a caller and a salt.
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

/// A share of the callers, in hundredths of a per cent. Written like `5%` or `0.25%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

impl Share {
    /// No caller. Only requests that name the canary by header reach it.
    pub const NOBODY: Self = Self(0);
    /// All callers.
    pub const ALL: Self = Self(10_000);

    /// The share in hundredths of a per cent, 0 to 10,000.
    pub fn basis_points(self) -> u16 {
        self.0
    }

    /// A share from hundredths of a per cent. Values above 10,000 count as 10,000.
    pub fn from_basis_points(points: u16) -> Self {
        Self(points.min(Self::ALL.0))
    }
}

/// The text is not a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a share of the callers like 5% or 0.25%, from 0% to 100%")]
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
    fn a_share_is_parsed_and_printed_in_the_same_form() {
        for text in ["0%", "0.25%", "5%", "12.5%", "99.99%", "100%"] {
            assert_eq!(text.parse::<Share>().map(|share| share.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "%", "5", "-1%", "+5%", "101%", "100.01%", "5.%", ".5%", "0.123%", "1e1%", "5 %", "5%%"] {
            assert_eq!(text.parse::<Share>(), Err(ShareError), "{text}");
        }
    }

    #[test]
    fn a_share_holds_its_part_of_the_callers_within_three_deviations() {
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
    fn each_canary_has_other_callers_and_a_user_is_not_an_address() {
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
