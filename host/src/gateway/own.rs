//! The gateway's own paths, which no service can mount.

use std::sync::Arc;

use hyper::http::request::Parts;
use hyper::{Method, Response};

use super::explorer::{self, File};
use super::respond::options;
use super::{Door, Gateway, openapi};
use crate::body::Body;
use crate::deploy::Deployment;
use crate::error::Error;
use crate::route::NoRoute;

/// A path of the gateway's own. Each answers GET and HEAD.
#[derive(Debug, Clone, Copy)]
pub(super) enum OwnPath {
    /// Whether every service is healthy.
    Health,
    /// The gateway's routes, as an OpenAPI document.
    Document,
    /// A file of the API explorer.
    Explorer(&'static File),
}

impl OwnPath {
    /// The gateway's own path, if this is one. The listener of a single service has none.
    pub(super) fn at(door: &Door, path: &str, has_explorer: bool) -> Option<Self> {
        match path {
            _ if !matches!(door, Door::Gateway) => None,
            "/health" => Some(Self::Health),
            "/openapi.json" => Some(Self::Document),
            _ if has_explorer => explorer::file(path).map(Self::Explorer),
            _ => None,
        }
    }
}

impl Gateway {
    /// Answers a request to one of the gateway's own paths.
    ///
    /// # Errors
    /// `Error::MethodNotAllowed`.
    pub(super) async fn answer_own(
        self: &Arc<Self>,
        own: OwnPath,
        deployment: &Arc<Deployment>,
        id: &Arc<str>,
        head: &Parts,
    ) -> Result<Response<Body>, Error> {
        const ALLOW: &str = "GET, HEAD, OPTIONS";
        match head.method {
            Method::GET | Method::HEAD => Ok(match own {
                OwnPath::Health => self.health(deployment, id).await,
                OwnPath::Document => openapi::answer(deployment, &head.headers),
                OwnPath::Explorer(file) => explorer::answer(file, &head.headers),
            }),
            Method::OPTIONS => Ok(options(ALLOW)),
            _ => Err(NoRoute::Method(ALLOW.to_owned()).into()),
        }
    }
}
