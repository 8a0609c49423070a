//! A trial: what a first start of all services would find, without activating anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;

use super::report::{DeployError, Steps};
use super::switch::collision;
use super::{Deployer, Deployment, Served};

/// What became of the component of each service: a revision that could serve, or why there is none.
pub type Trial = BTreeMap<String, Result<Served, DeployError>>;

impl Deployer {
    /// Takes the component of each service through the steps of a first start, and probes it. Of services whose routes collide, it
    /// refuses one.
    pub async fn try_all(&self) -> Trial {
        let setup = self.setup();
        let names: Vec<&String> = setup.manifest.services.keys().collect();
        let tried = join_all(names.iter().map(|name| self.try_one(name))).await;
        let mut trial: Trial = names.into_iter().cloned().zip(tried).collect();
        loop {
            let served =
                trial.iter().filter_map(|(name, tried)| Some((Arc::from(&**name), tried.as_ref().ok()?.clone())));
            let Err(conflict) = Deployment::new(served.collect(), BTreeMap::new(), &[]) else { return trial };
            let refused = collision(&conflict);
            let last = trial.iter().rfind(|(_, tried)| tried.is_ok()).map(|(name, _)| name.clone());
            let name = Some(refused.service.clone()).filter(|name| trial.get(name).is_some_and(Result::is_ok)).or(last);
            let Some(name) = name else { return trial };
            trial.insert(name, Err(refused.into()));
        }
    }

    async fn try_one(&self, name: &str) -> Result<Served, DeployError> {
        let bytes = self.read_again(name).await?;
        self.take_signature_beside(name, &bytes).await?;
        let served = self.stage(name, &bytes, &self.origin(name), &mut Steps::default()).await?;
        self.migrate(&served, false).await?;
        self.probe(&served).await?;
        Ok(served)
    }
}
