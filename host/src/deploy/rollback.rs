//! Rollback: the operator returns to the previous revision, or to a given one.

use super::record::Action;
use super::report::{self, DeployError, Refused, Report, Step, Steps};
use super::switch::Plan;
use super::{Deployer, Served, canary};

impl Deployer {
    /// Rolls back to the previous revision, or to the one whose digest begins with `to`, at once.
    ///
    /// # Errors
    /// The active revision keeps serving.
    pub async fn rollback(&self, name: &str, to: Option<&str>, reason: &str) -> Result<Report, DeployError> {
        let _busy = self.begin_work(name)?;
        let mut steps = self.live.deploy(name, None, self.now()).traced(report::span("rollback", name));
        let active = self.check_replaces(name, None)?;
        let served = self.find_target(name, active.as_deref(), to, &mut steps).await?;
        self.check_schema_range(&served).await?;
        let mut report = self.report(0, self.served(name).as_ref(), &served);
        let attempt = self.attempt(name, Action::Rollback, active, served.revision.digest(), reason);
        let lines = self.switch_with_lines(vec![(attempt, served)], |serving, activate| {
            canary::may_deploy(serving, name, None, None)?;
            Ok(Plan::activate(serving, activate))
        });
        report.id = lines.await?.pop().unwrap_or_default();
        steps.done(Step::Active, None);
        (report.active_since, report.steps) = (Some(self.now()), steps.take());
        Ok(report)
    }

    /// Finds the revision to roll back to: one that is still compiled, or else one whose component is still on the disk.
    ///
    /// If the operator has already rolled back from that revision, `to` must name it, because activating it again is a step forward.
    async fn find_target(
        &self,
        name: &str,
        active: Option<&str>,
        to: Option<&str>,
        steps: &mut Steps,
    ) -> Result<Served, DeployError> {
        let matches =
            |digest: &str| Some(digest) != active && to.is_none_or(|to| to.len() >= 8 && digest.starts_with(to));
        let kept: Vec<Served> =
            self.lane(name)?.state.kept().iter().filter(|kept| matches(kept.revision.digest())).cloned().collect();
        let formerly_active = self.record.formerly_active(name)?;
        let compiled = kept.iter().map(|kept| kept.revision.digest());
        let mut reverted = None;
        for digest in compiled.chain(formerly_active.iter().map(String::as_str).filter(|digest| matches(digest))) {
            if let Err(refused) = self.check_not_reverted(name, digest) {
                reverted.get_or_insert(refused);
                continue;
            }
            if to.is_none() && self.record.was_rolled_back(name, digest)? {
                return Err(DeployError::RolledBackFrom { service: name.to_owned(), target: digest.to_owned() });
            }
            if let Some(kept) = kept.iter().find(|kept| kept.revision.digest() == digest) {
                return Ok(kept.clone());
            }
            if let Some(bytes) = self.record.load(digest) {
                return self.stage(name, &bytes.into(), digest, steps).await;
            }
        }
        let wanted = to.map_or_else(|| "previous revision".to_owned(), |to| format!("revision {to}"));
        let nothing = DeployError::NothingBefore { service: name.to_owned(), wanted };
        // An operator who names a reverted revision is told why it is refused.
        Err(reverted.filter(|_| to.is_some()).unwrap_or(nothing))
    }

    /// Refuses a component that the host has reverted, unless a later deploy was forced.
    pub(super) fn check_not_reverted(&self, name: &str, digest: &str) -> Result<(), DeployError> {
        let Some(why) = self.record.reverted(name, digest)? else { return Ok(()) };
        let reason =
            format!("the host has already reverted this component ({why}): deploy it with --force to try again");
        Err(Refused { service: name.to_owned(), step: Step::Verified, reason }.into())
    }
}
