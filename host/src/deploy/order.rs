//! One deploy: the operator's order, and its way through all steps.

use std::sync::Arc;

use super::digest::sha256;
use super::record::Action;
use super::report::{self, DeployError, Refused, Report, Step, Steps};
use super::serving::Share;
use super::switch::Plan;
use super::watch::{self, Watch};
use super::{Deployer, Served, canary};

/// An operator's order to deploy one component.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// The name of the service.
    pub service: String,
    /// The bytes of the component's file.
    pub bytes: Vec<u8>,
    /// The SHA-256 that the bytes must have, in hexadecimal. None if the client did not send one.
    pub digest: Option<String>,
    /// The signature, as the line that `comptoir sign` writes.
    pub signature: Option<String>,
    /// The digest that must be active now. If another deploy was faster, this order fails with `Changed`.
    pub replaces: Option<String>,
    /// Deploy it even if the host has already reverted this component.
    pub force: bool,
    /// Start a canary on this share of the callers instead of activating the revision.
    pub canary: Option<Share>,
    /// The set that it belongs to. No caller reaches it before the whole set is promoted.
    pub set: Option<String>,
    /// The reason to record in the history.
    pub reason: String,
}

impl Deployer {
    /// Runs all steps of a deploy, and starts to watch the new revision.
    ///
    /// # Errors
    /// The old revision keeps serving.
    pub async fn deploy(self: &Arc<Self>, mut order: Order) -> Result<Report, DeployError> {
        let name = order.service.clone();
        let _busy = self.begin_work(&name)?;
        let mut steps = self.live.deploy(&name, order.canary, self.now()).traced(report::span("deploy", &name));
        let active = self.check_replaces(&name, order.replaces.as_deref())?;
        canary::may_deploy(&self.current.load(), &name, order.canary, order.set.as_deref())?;
        let bytes: Arc<[u8]> = std::mem::take(&mut order.bytes).into();
        let digest = sha256(&bytes);
        steps.done(Step::Received, None);
        let action = if order.canary.is_some() { Action::Canary } else { Action::Deploy };
        let signed = self.take_signature(&name, &digest, "the component", order.signature.as_deref());
        let line = self.record.begin(&self.attempt(&name, action, active, &digest, &order.reason))?;
        let deployed = match signed {
            Ok(()) => self.run_steps(&order, line, &bytes, &digest, &mut steps).await,
            Err(refused) => Err(refused),
        };
        if let Err(error) = &deployed {
            steps.fail(|| error.to_string());
            self.record.end(line, "refused", &error.to_string())?;
        }
        deployed
    }

    /// Runs the steps of an order whose history line has begun.
    async fn run_steps(
        self: &Arc<Self>,
        order: &Order,
        line: i64,
        bytes: &Arc<[u8]>,
        digest: &str,
        steps: &mut Steps,
    ) -> Result<Report, DeployError> {
        let name = order.service.as_str();
        let new = self.prepare(name, bytes, digest, order.digest.as_deref(), order.force, steps).await?;
        let before = self.served(name);
        let mut report = self.report(line, before.as_ref(), &new);
        report.changed = report.from.as_deref() != Some(digest);
        if let Some(share) = order.canary.filter(|_| report.changed || order.set.is_some()) {
            // A component of a set that is already active is staged like the others, so that no other deploy can change it meanwhile.
            self.begin_canary(line, new, share, order.set.clone()).await?;
            report.canary = Some(share).filter(|_| report.changed);
        } else if !report.changed {
            self.store(&new).await?;
            self.record.end(line, "unchanged", "it is already active")?;
        } else {
            self.activate(order, line, new).await?;
            steps.done(Step::Active, None);
            report.active_since = Some(self.now());
        }
        report.steps = steps.take();
        Ok(report)
    }

    async fn activate(self: &Arc<Self>, order: &Order, line: i64, new: Served) -> Result<(), DeployError> {
        self.store(&new).await?;
        let replaced = self.switch(|serving| {
            canary::may_deploy(serving, &order.service, None, None)?;
            self.check_replaces(&order.service, order.replaces.as_deref())?;
            Ok(Plan::activate(serving, vec![(line, new.clone())]))
        });
        if let Some(Some(old)) = replaced.await?.pop() {
            tokio::spawn(watch::run(
                self.clone(),
                Watch::active(vec![(line, new, old)], self.setup().manifest.deploy.watch),
            ));
        }
        Ok(())
    }

    /// Runs all steps up to activation.
    async fn prepare(
        &self,
        name: &str,
        bytes: &Arc<[u8]>,
        digest: &str,
        expected: Option<&str>,
        force: bool,
        steps: &mut Steps,
    ) -> Result<Served, DeployError> {
        let refuse = |step, reason| Refused { service: name.to_owned(), step, reason };
        let limit = self.setup().manifest.deploy.component;
        if bytes.len() as u64 > limit.as_u64() {
            let reason = format!(
                "the component has {} bytes, more than the limit of {limit} (`component` in [deploy])",
                bytes.len()
            );
            return Err(refuse(Step::Received, reason).into());
        }
        if let Some(expected) = expected.filter(|expected| !expected.eq_ignore_ascii_case(digest)) {
            let reason =
                format!("its sha256 is {digest}, but the request announced {expected}: it was changed on the way");
            return Err(refuse(Step::Verified, reason).into());
        }
        if !force {
            self.check_not_reverted(name, digest)?;
        }
        let kept = self.lane(name)?.state.kept().iter().find(|kept| kept.revision.digest() == digest).cloned();
        let served = match kept {
            Some(kept) => kept,
            None => self.stage(name, bytes, "the component", steps).await?,
        };
        self.check_migration_texts(&served).await?;
        let note = self.migrate(&served, true).await?;
        steps.done(Step::Migrated, note);
        let probes = self.probe(&served).await?;
        steps.done(Step::Probed, Some(format!("probes: {probes}")));
        Ok(served)
    }

    /// Refuses a component that was too large to be read, and records that in the history.
    ///
    /// # Errors
    /// Always: `Refused`, or the reason why the history could not be written.
    pub fn refuse_unread(&self, name: &str, reason: &str) -> Result<Report, DeployError> {
        self.lane(name)?;
        let active = self.check_replaces(name, None)?;
        let line = self.record.begin(&self.attempt(name, Action::Deploy, active, "", reason))?;
        let limit = self.setup().manifest.deploy.component;
        let reason = format!("the component has more bytes than the limit of {limit} (`component` in [deploy])");
        let refused: DeployError = Refused { service: name.to_owned(), step: Step::Received, reason }.into();
        self.record.end(line, "refused", &refused.to_string())?;
        Err(refused)
    }
}
