//! `/backups`: backups of the data folder, in a folder inside it. `comptoir backup` writes them elsewhere.

use std::path::Path;

use hyper::{Method, Request, Response};
use serde_json::{Value, json};

use super::Admin;
use super::envelope::{AuditedResult, allow, query, success};
use super::warnings::{NEARLY_FULL_BYTES, free_bytes};
use crate::backup::{self, Contents};
use crate::body::{Arriving, Body};
use crate::error::{AdminError, Error};

/// The folder of backups inside the data folder.
const FOLDER: &str = "backups";

/// The most backups there. The operator removes old ones, so that nobody can fill the disk with this alone.
const BACKUPS: usize = 10;

impl Admin {
    pub(super) async fn backups(&self, request: &Request<Arriving>) -> Result<Response<Body>, AdminError> {
        allow(request, &[Method::GET, Method::POST])?;
        query(request, &[])?;
        let (data, is_order) = (self.platform.folder.clone(), request.method() == Method::POST);
        let work = move || if is_order { make(&data).map(|made| vec![made]) } else { list(&data) };
        let mut found = tokio::task::spawn_blocking(work).await.map_err(|_| Error::Internal)??;
        if !is_order {
            return Ok(success(&json!({ "count": found.len(), "data": found })));
        }
        let made = found.remove(0);
        let name = made["name"].as_str().unwrap_or_default().to_owned();
        let mut response = success(&json!({ "data": made }));
        response.extensions_mut().insert(AuditedResult(name));
        Ok(response)
    }
}

/// The backups in the data folder, newest first.
fn list(data: &Path) -> Result<Vec<Value>, AdminError> {
    let found = backup::list(&data.join(FOLDER)).map_err(|error| failed(&error))?;
    Ok(found.iter().rev().map(|(name, contents)| shown(data, name, contents)).collect())
}

fn make(data: &Path) -> Result<Value, AdminError> {
    let folder = data.join(FOLDER);
    let there = backup::list(&folder).map_err(|error| failed(&error))?.len();
    if there >= BACKUPS {
        let why = format!("{} has {there} backups already: move old ones elsewhere, or remove them", folder.display());
        return Err(AdminError::BackupRefused(why));
    }
    let needed = backup::needed_bytes(data).map_err(|error| failed(&error))?.saturating_add(NEARLY_FULL_BYTES);
    if free_bytes(data).is_ok_and(|free| free < needed) {
        let why = format!(
            "a backup needs {} MiB on the disk of {}: free some, or run `comptoir backup FOLDER` for another disk",
            needed >> 20,
            data.display()
        );
        return Err(AdminError::BackupRefused(why));
    }
    let made = backup::create(data, &folder).map_err(|error| failed(&error))?;
    let name = made.path.file_name().unwrap_or_default().to_string_lossy();
    Ok(shown(data, &name, &made.contents))
}

fn shown(data: &Path, name: &str, contents: &Contents) -> Value {
    json!({
        "name": name,
        "path": data.join(FOLDER).join(name),
        "bytes": contents.bytes(),
        "files": contents.files.len(),
        "has_services": contents.has_services(),
    })
}

fn failed(error: &anyhow::Error) -> AdminError {
    AdminError::BackupFailed(format!("{error:#}"))
}
