//! The way back: to the revision before, or to one that is named.

use super::record::Action;
use super::report::{DeployError, Refused, Report, Step, Steps};
use super::switch::Plan;
use super::{Deployer, Served, canary};

impl Deployer {
    /// Goes back to the revision before, or to the one that is named, at once.
    ///
    /// # Errors
    /// `DeployError`. Then what served before serves on.
    pub async fn rollback(&self, name: &str, to: Option<&str>, reason: &str) -> Result<Report, DeployError> {
        let mut steps = Steps::default();
        let _busy = self.begin_work(name)?;
        let active = self.check_replaces(name, None)?;
        let served = self.before(name, active.as_deref(), to, &mut steps).await?;
        self.fits_schema(&served).await?;
        let mut report = self.report(0, self.served(name).as_ref(), &served);
        let entry = self.entry(name, Action::Rollback, active, served.revision.digest(), reason);
        let lines = self.switch_with_lines(vec![(entry, served)], |serving, activate| {
            canary::may_deploy(serving, name, None, None)?;
            Ok(Plan::activate(serving, activate))
        });
        report.id = lines.await?.pop().unwrap_or_default();
        steps.done(Step::Active, None);
        (report.active_since, report.steps) = (Some(self.now()), steps.into_taken());
        Ok(report)
    }

    /// The revision to go back to: one that is still compiled, or else one whose component is still on the disk. One that was itself
    /// rolled back from must be named: going there is a step forward.
    async fn before(
        &self,
        name: &str,
        active: Option<&str>,
        to: Option<&str>,
        steps: &mut Steps,
    ) -> Result<Served, DeployError> {
        let matches =
            |digest: &str| Some(digest) != active && to.is_none_or(|to| to.len() >= 8 && digest.starts_with(to));
        let kept: Vec<Served> =
            self.kept(name).iter().filter(|kept| matches(kept.revision.digest())).cloned().collect();
        let served_once = self.record.served_once(name)?;
        let compiled = kept.iter().map(|kept| kept.revision.digest());
        let mut taken_back = None;
        for digest in compiled.chain(served_once.iter().map(String::as_str).filter(|digest| matches(digest))) {
            if let Err(refused) = self.was_not_taken_back(name, digest) {
                taken_back.get_or_insert(refused);
                continue;
            }
            if to.is_none() && self.record.was_left(name, digest)? {
                return Err(DeployError::WasLeft { service: name.to_owned(), target: digest.to_owned() });
            }
            if let Some(kept) = kept.iter().find(|kept| kept.revision.digest() == digest) {
                return Ok(kept.clone());
            }
            if let Some(bytes) = self.record.load(digest) {
                return self.stage(name, &bytes.into(), digest, steps).await;
            }
        }
        let nothing =
            DeployError::NothingBefore { service: name.to_owned(), wanted: to.unwrap_or("before").to_owned() };
        // Whoever names one is told why it is not taken.
        Err(taken_back.filter(|_| to.is_some()).unwrap_or(nothing))
    }

    /// Refuses what the host took back by itself and nobody has forced since.
    pub(super) fn was_not_taken_back(&self, name: &str, digest: &str) -> Result<(), DeployError> {
        let Some(why) = self.record.reverted(name, digest)? else { return Ok(()) };
        let reason = format!("the host took it back before ({why}): deploy it with force to try again");
        Err(Refused { service: name.to_owned(), step: Step::Verified, reason }.into())
    }
}
