//! What an operator orders to be deployed, and its way through every step.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::record::Action;
use super::report::{DeployError, Refused, Report, Step, Steps};
use super::serving::Share;
use super::switch::Plan;
use super::watch::{self, Probation};
use super::{Deployer, Served, canary, hex};

/// What an operator wants deployed.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// The service.
    pub service: String,
    /// The component's file.
    pub bytes: Vec<u8>,
    /// SHA-256 that the bytes must have, in hexadecimal.
    pub digest: Option<String>,
    /// The line of its signature, as `comptoir sign` writes it.
    pub signature: Option<String>,
    /// The digest that must be active now: the order is void when somebody else was faster.
    pub replaces: Option<String>,
    /// Activate it even if the host took it back before.
    pub force: bool,
    /// Try it on this share of the callers first, instead of putting it in charge.
    pub canary: Option<Share>,
    /// The set that it belongs to: it is staged for nobody, until the whole set is promoted.
    pub set: Option<String>,
    /// Why, for the history.
    pub reason: String,
}

impl Deployer {
    /// Takes a component from an operator all the way, and begins to watch it.
    ///
    /// # Errors
    /// `DeployError`. Then what served before serves on.
    pub async fn deploy(self: &Arc<Self>, mut order: Order) -> Result<Report, DeployError> {
        let mut steps = Steps::default();
        let name = order.service.clone();
        let _busy = self.begin_work(&name)?;
        let active = self.check_replaces(&name, order.replaces.as_deref())?;
        canary::may_deploy(&self.current.load(), &name, order.canary, order.set.as_deref())?;
        let bytes: Arc<[u8]> = std::mem::take(&mut order.bytes).into();
        let digest = hex(&Sha256::digest(&bytes));
        steps.done(Step::Received, None);
        let action = if order.canary.is_some() { Action::Canary } else { Action::Deploy };
        let signed = self.take_signature(&name, &digest, "the component", order.signature.as_deref());
        let line = self.record.begin(&self.entry(&name, action, active, &digest, &order.reason))?;
        let brought = match signed {
            Ok(()) => self.bring(&order, line, &bytes, &digest, steps).await,
            Err(refused) => Err(refused),
        };
        if let Err(error) = &brought {
            self.record.end(line, "refused", &error.to_string())?;
        }
        brought
    }

    /// Every step of an order whose line of the history is begun.
    async fn bring(
        self: &Arc<Self>,
        order: &Order,
        line: i64,
        bytes: &Arc<[u8]>,
        digest: &str,
        mut steps: Steps,
    ) -> Result<Report, DeployError> {
        let name = order.service.as_str();
        let new = self.pass(name, bytes, digest, order.digest.as_deref(), order.force, &mut steps).await?;
        let before = self.served(name);
        let mut report = self.report(line, before.as_ref(), &new);
        report.changed = report.from.as_deref() != Some(digest);
        if let Some(share) = order.canary.filter(|_| report.changed || order.set.is_some()) {
            // A member of a set that is active already is staged like the others, so that nobody else changes it meanwhile.
            self.begin_canary(line, new, share, order.set.clone()).await?;
            report.canary = Some(share).filter(|_| report.changed);
        } else if !report.changed {
            self.store(&new).await?;
            self.record.end(line, "unchanged", "it is active already")?;
        } else {
            self.put_in_charge(order, line, new).await?;
            steps.done(Step::Active, None);
            report.active_since = Some(self.now());
        }
        report.steps = steps.into_taken();
        Ok(report)
    }

    async fn put_in_charge(self: &Arc<Self>, order: &Order, line: i64, new: Served) -> Result<(), DeployError> {
        self.store(&new).await?;
        let replaced = self.switch(|serving| {
            canary::may_deploy(serving, &order.service, None, None)?;
            self.check_replaces(&order.service, order.replaces.as_deref())?;
            Ok(Plan::activate(serving, vec![(line, new.clone())]))
        });
        if let Some(Some(old)) = replaced.await?.pop() {
            tokio::spawn(watch::run(
                self.clone(),
                Probation::in_charge(vec![(line, new, old)], self.manifest.deploy.watch),
            ));
        }
        Ok(())
    }

    /// Every step up to activation.
    async fn pass(
        &self,
        name: &str,
        bytes: &Arc<[u8]>,
        digest: &str,
        expected: Option<&str>,
        force: bool,
        steps: &mut Steps,
    ) -> Result<Served, DeployError> {
        let refuse = |step, reason| Refused { service: name.to_owned(), step, reason };
        let limit = self.manifest.deploy.component;
        if bytes.len() as u64 > limit.as_u64() {
            let reason = format!("it has {} bytes, more than the limit of {limit}", bytes.len());
            return Err(refuse(Step::Received, reason).into());
        }
        if let Some(expected) = expected.filter(|expected| !expected.eq_ignore_ascii_case(digest)) {
            let reason = format!("its sha256 is {digest}, but {expected} was announced: it was changed on the way");
            return Err(refuse(Step::Verified, reason).into());
        }
        if !force {
            self.was_not_taken_back(name, digest)?;
        }
        let kept = self.kept(name).iter().find(|kept| kept.revision.digest() == digest).cloned();
        let served = match kept {
            Some(kept) => kept,
            None => self.stage(name, bytes, "the component", steps).await?,
        };
        self.fits_texts(&served).await?;
        let note = self.migrate(&served, true).await?;
        steps.done(Step::Migrated, note);
        let probes = self.probe(&served).await?;
        steps.done(Step::Probed, Some(format!("{probes} probes")));
        Ok(served)
    }

    /// Refuses a component that was too large to be received, and writes it down.
    ///
    /// # Errors
    /// Always: `Refused`, or what kept it from being written down.
    pub fn refuse_unread(&self, name: &str, reason: &str) -> Result<Report, DeployError> {
        self.lane(name)?;
        let active = self.check_replaces(name, None)?;
        let line = self.record.begin(&self.entry(name, Action::Deploy, active, "", reason))?;
        let limit = self.manifest.deploy.component;
        let reason = format!("it has more bytes than the limit of {limit}");
        let refused: DeployError = Refused { service: name.to_owned(), step: Step::Received, reason }.into();
        self.record.end(line, "refused", &refused.to_string())?;
        Err(refused)
    }
}
