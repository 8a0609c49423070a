//! What the gateway answers itself, on paths that no service can have.

use std::sync::Arc;

use hyper::http::request::Parts;
use hyper::{Method, Response};

use super::{Gateway, openapi, options};
use crate::body::Body;
use crate::deploy::Deployment;
use crate::error::Error;
use crate::route::NoRoute;

/// A path of the gateway's own. Each answers GET and HEAD.
#[derive(Debug, Clone, Copy)]
pub(super) enum Own {
    /// Whether every service can answer.
    Health,
    /// What the gateway serves, in OpenAPI.
    Document,
}

impl Own {
    /// The gateway's own answer on a path, if it has one.
    pub(super) fn at(path: &str) -> Option<Self> {
        match path {
            "/health" => Some(Self::Health),
            "/openapi.json" => Some(Self::Document),
            _ => None,
        }
    }
}

impl Gateway {
    /// Answers on one of the gateway's own paths.
    ///
    /// # Errors
    /// Another method than those that it answers.
    pub(super) async fn answer_own(
        self: &Arc<Self>,
        own: Own,
        deployment: &Arc<Deployment>,
        id: &Arc<str>,
        head: &Parts,
    ) -> Result<Response<Body>, Error> {
        const ALLOW: &str = "GET, HEAD, OPTIONS";
        match head.method {
            Method::GET | Method::HEAD => Ok(match own {
                Own::Health => self.health(deployment, id).await,
                Own::Document => openapi::answer(deployment, &head.headers),
            }),
            Method::OPTIONS => Ok(options(ALLOW)),
            _ => Err(NoRoute::Method(ALLOW.to_owned()).into()),
        }
    }
}
