//! The key `files` of a service: folders that its component may read.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::check::Check;

/// The most folders of one service.
const MAX_FOLDERS: usize = 16;

/// The most bytes of the path that a component sees.
const MAX_PATH_BYTES: usize = 256;

/// A folder that a component may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// The folder on this machine.
    pub from: PathBuf,
    /// The path at which the component finds it: `/`, or `/` and names without a slash at the end.
    pub to: String,
}

/// A folder as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FolderTable {
    from: PathBuf,
    to: Spanned<String>,
}

/// Checks a service's folders. The host looks for them later, when it checks everything outside of the manifest.
pub(super) fn read(service: &str, tables: &[FolderTable], check: &Check) -> Vec<Folder> {
    if tables.len() > MAX_FOLDERS {
        let message = format!(
            "files of service `{service}` has {} folders, but {MAX_FOLDERS} are the most: open a folder above them",
            tables.len()
        );
        check.report_at(&format!("services.{service}.files"), &message);
    }
    let mut paths = BTreeSet::new();
    for table in tables {
        let to = table.to.get_ref();
        if !is_guest_path(to) {
            let message = format!(
                "`{}` cannot be a component's path to a folder: write \"/\", or a path such as \"/site\", without \
                 `.`, `..` or a final slash",
                crate::printable::excerpt(to, MAX_PATH_BYTES)
            );
            check.report(Some(table.to.span()), &message);
        } else if !paths.insert(to) {
            check.report(Some(table.to.span()), &format!("two folders have the path `{to}`: give each its own"));
        }
    }
    let folder = |table: &FolderTable| Folder { from: check.path(&table.from), to: table.to.get_ref().clone() };
    tables.iter().map(folder).collect()
}

fn is_guest_path(path: &str) -> bool {
    let is_name = |name: &str| !matches!(name, "" | "." | "..") && !name.chars().any(char::is_control);
    path.len() <= MAX_PATH_BYTES
        && path.strip_prefix('/').is_some_and(|rest| rest.is_empty() || rest.split('/').all(is_name))
}
