//! What to build for which services, from the manifest.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use comptoir::manifest::Manifest;

use super::sources::{Snapshot, Sources, resolved};

/// One command, and the services that it builds. Services with the same command are built together.
pub(super) struct Group {
    /// The shell command.
    pub(super) command: String,
    /// Their names.
    pub(super) services: Vec<String>,
    /// What all of them are built from.
    pub(super) sources: Sources,
    /// The sources at the begin of the last build. None before the first one.
    pub(super) built: Option<Snapshot>,
}

impl Group {
    /// Its services, for messages.
    pub(super) fn names(&self) -> String {
        self.services.join(", ")
    }
}

/// The groups of a manifest. Takes over from `before` what did not change, so that they are not built again.
pub(super) fn groups(manifest: &Manifest, data: &Path, before: &[Group]) -> Vec<Group> {
    let components = manifest.services.values().map(|service| resolved(&service.component));
    let left_out = Arc::new(components.chain([resolved(data), resolved(&manifest.file)]).collect::<BTreeSet<_>>());
    let mut commands: Vec<(&str, Vec<String>, Vec<PathBuf>)> = Vec::new();
    for (name, service) in &manifest.services {
        let Some(command) = &service.build else { continue };
        match commands.iter_mut().find(|(other, ..)| other == command) {
            Some((_, services, sources)) => {
                services.push(name.clone());
                sources.extend_from_slice(&service.sources);
            }
            None => commands.push((command, vec![name.clone()], service.sources.clone())),
        }
    }
    let group = |(command, services, sources): (&str, Vec<String>, Vec<PathBuf>)| {
        let sources = Sources::new(&sources, &left_out);
        let same = before
            .iter()
            .find(|group| group.command == command && group.services == services && group.sources == sources);
        let built = same.and_then(|group| group.built.clone());
        Group { command: command.to_owned(), services, sources, built }
    };
    commands.into_iter().map(group).collect()
}
