//! Assets of revisions beside the active one: a page that a browser got from such a revision still finds them.
//!
//! A page names its scripts and styles by names with a hash, and a deploy replaces both together. Between loading a page and loading its
//! assets, a deploy may take place. A canary may also answer for the page and not for the assets.

use std::collections::HashMap;
use std::sync::Arc;

use hyper::Method;

use super::Served;
use crate::route::{Access, Route, RouteTable};

/// A route that no active revision has, with the revision that has it.
pub struct EarlierAsset {
    /// The route. It is public, for GET, and has no parameter.
    pub route: Arc<Route>,
    /// A kept revision, or one of the running canary.
    pub served: Served,
}

/// The assets that a deployment can still answer for, by path.
#[derive(Default)]
pub(super) struct EarlierAssets(HashMap<Arc<str>, EarlierAsset>);

impl EarlierAssets {
    /// The assets of these revisions that `current` does not have. Earlier revisions in the list come first.
    pub(super) fn new(revisions: &[Served], current: &RouteTable) -> Self {
        let mut assets = HashMap::new();
        for served in revisions {
            for route in served.routes.iter().filter(|route| may_be_asset(route)) {
                if current.find(&Method::GET, &route.pattern).is_err() {
                    let new = || EarlierAsset { route: Arc::new(route.clone()), served: served.clone() };
                    assets.entry(route.pattern.clone()).or_insert_with(new);
                }
            }
        }
        Self(assets)
    }

    pub(super) fn find(&self, method: &Method, path: &str) -> Option<&EarlierAsset> {
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        self.0.get(path).filter(|_| is_read)
    }
}

/// Whether a route can be that of an asset. Only its answer shows whether it is one: then it is `immutable` (RFC 8246).
fn may_be_asset(route: &Route) -> bool {
    let is_read = route.method == Some(Method::GET) && route.access == Access::Public;
    is_read && !route.pattern.contains('{') && route.headers.as_ref().is_some_and(|headers| headers.is_empty())
}
