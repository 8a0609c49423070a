//! Staging: turns a component's bytes into a revision that can serve. Has no effect on the active revisions.

use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::compile::Compilation;
use super::digest::hex;
use super::lane::Resources;
use super::progress::Progress;
use super::report::{DeployError, Refused, Step, Steps};
use super::{Documentation, Platform, Served, check, routes};
use crate::audit::ServiceAudit;
use crate::engine::{self, CompilePriority};
use crate::guest::{Author, Config, Folders, Grants, Providers};
use crate::manifest::{Manifest, Service};
use crate::outbound::RevisionSecrets;
use crate::revision::{Description, DescriptionError, Parts, Revision};

/// The inputs of staging one component.
pub(super) struct Stage<'a> {
    pub(super) name: &'a str,
    pub(super) manifest: &'a Manifest,
    pub(super) platform: &'a Arc<Platform>,
    pub(super) resources: &'a Arc<Resources>,
    /// The program that compiles in a separate process. None to compile in this process.
    pub(super) compiler: Option<&'a PathBuf>,
    pub(super) compile_priority: CompilePriority,
    pub(super) progress: &'a Progress,
    /// What messages call the component: a file or a digest.
    pub(super) origin: String,
}

impl Stage<'_> {
    fn service(&self) -> &Service {
        &self.manifest.services[self.name]
    }

    fn refuse(&self, step: Step, reason: String) -> Refused {
        Refused { service: self.name.to_owned(), step, reason }
    }

    /// Verifies, compiles and links the component, and asks it to describe itself.
    ///
    /// # Errors
    /// The step that failed, and why.
    pub(super) async fn run(&self, bytes: &Arc<[u8]>, steps: &mut Steps) -> Result<Served, DeployError> {
        let service = self.service();
        let interfaces =
            engine::inspect(bytes).map_err(|error| self.refuse(Step::Verified, format!("{}: {error}", self.origin)))?;
        let sha256 = Sha256::digest(bytes);
        let digest = hex(&sha256);
        steps.done(Step::Verified, Some(format!("{} bytes, sha256 {digest}", bytes.len())));
        check::imports(self.name, service, &self.origin, &self.manifest.file, &interfaces.required)
            .and_then(|()| check::reuse(self.name, service, &self.manifest.file, interfaces.handler.wasi()))
            .map_err(|reason| self.refuse(Step::Linked, reason))?;
        let component = self.compilation().run(interfaces.target(), bytes, sha256.into()).await;
        let component = component.map_err(|reason| self.refuse(Step::Compiled, reason))?;
        steps.done(Step::Compiled, None);
        check::passwords(self.manifest, &self.origin, &engine::imported_functions(&component, "passwords"))
            .map_err(|reason| self.refuse(Step::Linked, reason))?;
        let parts = self.parts(service, digest, self.secrets()?).await;
        let parts = parts.map_err(|reason| self.refuse(Step::Linked, reason))?;
        let revision = Revision::link(&self.platform.engines, &interfaces, &component, parts)
            .map_err(|error| self.refuse(Step::Linked, format!("{error:#}")))?;
        steps.done(Step::Linked, Some(format!("{} imports", interfaces.imports.len())));
        let description = if interfaces.describes_itself { Some(self.describe(&revision).await?) } else { None };
        let routes = routes::of(self.name, service, description.as_deref());
        if description.is_some() {
            check::routes(self.name, service, &self.manifest.file, &routes)
                .map_err(|reason| self.refuse(Step::Described, reason))?;
        }
        let documentation = match &description {
            Some(description) => Documentation::read(self.name, description)
                .map_err(|reason| self.refuse(Step::Described, format!("its documentation {reason}")))?,
            None => Documentation::default(),
        };
        steps.done(Step::Described, Some(format!("{} routes", routes.len())));
        Ok(Served {
            routes,
            imports: interfaces.imports,
            revision: Arc::new(revision),
            bytes: bytes.clone(),
            description,
            documentation: Arc::new(documentation),
            calls: service.calls.clone(),
            grants: service.grants.clone(),
            resources: self.resources.clone(),
        })
    }

    fn compilation(&self) -> Compilation<'_> {
        Compilation {
            service: self.name,
            engines: &self.platform.engines,
            compiler: self.compiler,
            priority: self.compile_priority,
            rules: &self.manifest.deploy,
            progress: self.progress,
        }
    }

    /// The service's secrets, with placeholders of this revision.
    fn secrets(&self) -> Result<Option<Arc<RevisionSecrets>>, Refused> {
        let Some(secrets) = &self.resources.secrets else { return Ok(None) };
        let secrets = RevisionSecrets::new(secrets.clone());
        let refuse = |error| self.refuse(Step::Linked, format!("the system provides no random bytes: {error}"));
        secrets.map(|secrets| Some(Arc::new(secrets))).map_err(refuse)
    }

    async fn describe(&self, revision: &Revision) -> Result<Arc<Description>, DeployError> {
        let described = revision.describe().await.map_err(|error| {
            let refused = self.refuse(Step::Described, error.to_string());
            if matches!(error, DescriptionError::Busy(_)) { DeployError::Crowded(refused) } else { refused.into() }
        })?;
        Ok(Arc::new(described))
    }

    /// The parts of the revision besides its code.
    ///
    /// # Errors
    /// A folder of the service cannot be opened.
    async fn parts(
        &self,
        service: &Service,
        digest: String,
        secrets: Option<Arc<RevisionSecrets>>,
    ) -> Result<Parts, String> {
        let files = service.files.clone();
        let open = move || Folders::open(files.iter().map(|folder| (&*folder.from, &*folder.to)));
        let folders = tokio::task::spawn_blocking(open).await.map_err(|error| error.to_string())?;
        let audit = ServiceAudit::new(self.platform.audit.clone(), self.name.into());
        let providers = Providers {
            author: Author::new(self.name.into()),
            storage: self.resources.storage.clone(),
            keyvalue: self.resources.entries.as_ref().map(|entries| entries.keyvalue.clone()),
            tokens: self.platform.tokens.clone(),
            passwords: self.platform.passwords.clone(),
            audit: audit.clone(),
            config: Config::new(&service.config),
            secrets,
            outbound: self.resources.outbound.clone(),
            folders: folders.map_err(|error| format!("files: {error}"))?,
        };
        Ok(Parts {
            service: self.name.into(),
            digest,
            granted: service.grants.clone(),
            grants: Grants::select(&service.grants, providers),
            audit,
            limits: service.limits,
            slots: self.resources.slots.clone(),
            stream_slots: self.resources.stream_slots.clone(),
            background: self.platform.background.clone(),
            idle: self.resources.idle.clone(),
            response_cache: self.resources.response_cache.clone(),
            clock: self.platform.clock.clone(),
        })
    }
}
