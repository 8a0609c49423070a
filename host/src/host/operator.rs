//! Checks the operator's login, whose seeded password is public.

use std::sync::Arc;

use anyhow::bail;
use hyper::{Method, StatusCode};
use serde_json::json;

use super::Addresses;
use crate::deploy::{Deployment, Record};
use crate::gateway::Gateway;
use crate::manifest::Operator;

/// Sets the operator's password if a new one was given. Refuses to listen beyond loopback as long as the password is the seeded one, which
/// is public. Returns the name of the login in that case.
pub(super) async fn check(
    gateway: &Arc<Gateway>,
    deployment: &Arc<Deployment>,
    operator: &Operator,
    addresses: &Addresses,
    password: Option<&str>,
    record: &Record,
) -> anyhow::Result<Option<String>> {
    let Operator { service, path } = operator;
    if let Some(password) = password {
        let body = json!({ "password": password });
        let (status, answer) = gateway.call(deployment, service, Method::PUT, path, Some(&body)).await?;
        let why = answer["error"]["message"].as_str().unwrap_or("the service gave no reason");
        // A failing service must not keep the others from serving. The check below decides whether this host may serve.
        if status.is_server_error() || status == StatusCode::CONFLICT {
            tracing::error!(service, "--operator-password-file: {why}");
        } else if !status.is_success() {
            bail!("--operator-password-file: {why}");
        }
    }
    let (status, answer) = gateway.call(deployment, service, Method::GET, path, None).await?;
    let open = std::iter::once(addresses.gateway).chain(addresses.services.values().copied());
    let open = open.into_iter().find(|address| !address.ip().is_loopback());
    if status != StatusCode::OK {
        let failed =
            format!("the service `{service}` answered {status} to {path}, the `operator` path in the manifest");
        // A failing service must not keep the others from serving, if its last answer allows the addresses of this host.
        let was_asked = record.operator_was_seeded()?.filter(|seeded| !seeded || open.is_none());
        if !status.is_server_error() || was_asked.is_none() {
            bail!("{failed}");
        }
        tracing::error!(service, "{failed}: the host serves anyway, because of the service's last answer");
        return Ok(None);
    }
    let is_seeded = answer["data"]["development"] == json!(true);
    record.note_operator(is_seeded)?;
    if !is_seeded {
        return Ok(None);
    }
    if let Some(open) = open {
        bail!(
            "refusing to listen on {open}, which is not a loopback address, because the operator's password is the seeded one: set \
             another with --operator-password-file"
        );
    }
    Ok(Some(answer["data"]["username"].as_str().unwrap_or("admin").to_owned()))
}
