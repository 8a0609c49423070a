//! The routes of a component on the gateway: its own description, placed on the mounts of the manifest.

use std::sync::Arc;

use hyper::header::AUTHORIZATION;

use crate::manifest::{Credentials, PlainAccess, Service};
use crate::revision::Description;
use crate::route::{Access, Route};

/// The routes that a component declares. If it declares none: catch-all routes on its mounts.
///
/// With `strip`, declared paths are relative to the mount, except those of internal routes, which clients cannot reach.
pub(super) fn of(name: &str, service: &Service, description: Option<&Description>) -> Vec<Route> {
    let mount: Option<Arc<str>> =
        service.mounts.first().filter(|mount| service.strip && *mount != "/").map(|mount| mount.as_str().into());
    let mut routes = match (description, &mount) {
        (Some(description), Some(mount)) => {
            description.routes.iter().flat_map(|route| below_mount(mount, route)).collect()
        }
        (Some(description), None) => description.routes.clone(),
        (None, _) => catch_alls(name, service, mount.as_ref()),
    };
    for route in &mut routes {
        let reads = route.headers.as_ref().is_none_or(|read| read.contains(&AUTHORIZATION));
        route.passes_credentials = service.credentials == Credentials::Pass && route.access == Access::Public && reads;
    }
    routes
}

fn catch_alls(name: &str, service: &Service, strip: Option<&Arc<str>>) -> Vec<Route> {
    let access = match service.access {
        PlainAccess::Public => Access::Public,
        PlainAccess::User => Access::User,
        PlainAccess::Admin => Access::Admin,
    };
    let name = name.into();
    let routes = service.mounts.iter().flat_map(|mount| Route::catch_alls(&name, mount, access));
    routes.map(|route| Route { strip: strip.cloned(), ..route }).collect()
}

/// A declared route on the gateway. `/` is the mount itself, with and without a slash.
///
/// A path that does not begin with a slash stays as it is. It is outside of the mount, so the check of the routes refuses it.
fn below_mount(mount: &Arc<str>, route: &Route) -> Vec<Route> {
    let at = |pattern: String| Route { pattern: pattern.into(), strip: Some(mount.clone()), ..route.clone() };
    match &*route.pattern {
        _ if route.access == Access::Internal => vec![route.clone()],
        "/" => vec![at(mount.to_string()), at(format!("{mount}/"))],
        path if path.starts_with('/') => vec![at(format!("{mount}{path}"))],
        _ => vec![route.clone()],
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use hyper::Method;
    use hyper::header::{ACCEPT, HeaderName};

    use super::*;
    use crate::deploy::check;
    use crate::manifest::Manifest;

    fn service(extra: &str) -> Service {
        let text = format!(
            "[listeners]\ngateway = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\n[services.site]\ncomponent = \"s.wasm\"\n\
             mounts = [\"/site\"]\n{extra}"
        );
        Manifest::parse(Path::new("c.toml"), &text).unwrap().services["site"].clone()
    }

    fn declared(routes: &[(&str, Access, &[HeaderName])]) -> Description {
        let route = |(path, access, headers): &(&str, Access, &[HeaderName])| Route {
            service: "site".into(),
            method: Some(Method::GET),
            pattern: (*path).into(),
            strip: None,
            access: *access,
            headers: Some((*headers).into()),
            passes_credentials: false,
        };
        Description {
            name: "site".to_owned(),
            version: "1".to_owned(),
            health: None,
            routes: routes.iter().map(route).collect(),
            migrations: Vec::new(),
            schema: (0, 0),
            probes: Vec::new(),
            documentation: None,
        }
    }

    /// Patterns, and whether the host removes the mount.
    fn placed(service: &Service, description: Option<&Description>) -> Vec<(String, bool)> {
        let routes = of("site", service, description);
        routes.iter().map(|route| (route.pattern.to_string(), route.strip.is_some())).collect()
    }

    fn expected(patterns: &[&str], strip: bool) -> Vec<(String, bool)> {
        patterns.iter().map(|pattern| ((*pattern).to_owned(), strip)).collect()
    }

    fn refusal(service: &Service, description: &Description) -> Option<String> {
        check::routes("site", service, Path::new("c.toml"), &of("site", service, Some(description))).err()
    }

    #[test]
    fn without_strip_a_component_declares_whole_paths() {
        let description = declared(&[("/site/x", Access::User, &[])]);
        assert_eq!(placed(&service(""), Some(&description)), expected(&["/site/x"], false));
        assert_eq!(placed(&service(""), None), expected(&["/site", "/site/", "/site/{*rest}"], false));
    }

    #[test]
    fn with_strip_declared_paths_are_relative_to_the_mount_except_internal_ones() {
        let stripped = service("strip = true");
        let description = declared(&[("/", Access::User, &[]), ("/x/{id}", Access::User, &[])]);
        assert_eq!(placed(&stripped, Some(&description)), expected(&["/site", "/site/", "/site/x/{id}"], true));
        assert_eq!(refusal(&stripped, &description), None);
        assert_eq!(placed(&stripped, None), expected(&["/site", "/site/", "/site/{*rest}"], true));
        let internal = declared(&[("/internal/x", Access::Internal, &[])]);
        assert_eq!(placed(&stripped, Some(&internal)), expected(&["/internal/x"], false));
    }

    #[test]
    fn strip_has_no_effect_on_a_mount_at_the_root() {
        let mut root = service("strip = true");
        root.mounts = vec!["/".to_owned()];
        assert_eq!(placed(&root, None), expected(&["/", "/{*rest}"], false));
        let description = declared(&[("/x", Access::User, &[])]);
        assert_eq!(placed(&root, Some(&description)), expected(&["/x"], false));
    }

    #[test]
    fn a_relative_path_without_a_slash_is_refused_as_outside_of_the_mount() {
        let refused = refusal(&service("strip = true"), &declared(&[("x", Access::User, &[])])).unwrap();
        assert!(refused.contains("the route GET x is outside of its mounts (/site)"), "{refused}");
    }

    #[test]
    fn public_paths_of_a_stripped_service_are_those_of_clients() {
        let stripped = service("strip = true\npublic = [\"/site/open\"]");
        assert_eq!(refusal(&stripped, &declared(&[("/open/x", Access::Public, &[])])), None);
        let refused = refusal(&stripped, &declared(&[("/secret", Access::Public, &[])])).unwrap();
        assert!(refused.contains("the route GET /site/secret is public, which `public` in"), "{refused}");
    }

    #[test]
    fn credentials_pass_only_on_public_routes_of_a_service_that_says_so() {
        let passes = |extra: &str, access| {
            let mut service = service(extra);
            service.access = access;
            of("site", &service, None).iter().all(|route| route.passes_credentials)
        };
        let pass = "access = \"public\"\ncredentials = \"pass\"";
        assert!(passes(pass, PlainAccess::Public));
        assert!(!passes(pass, PlainAccess::User) && !passes(pass, PlainAccess::Admin));
        assert!(!passes("access = \"public\"", PlainAccess::Public));
        let pass = service("public = [\"/site\"]\ncredentials = \"pass\"");
        let description = declared(&[
            ("/site/git", Access::Public, &[ACCEPT, AUTHORIZATION]),
            ("/site/open", Access::Public, &[ACCEPT]),
            ("/site/mine", Access::User, &[ACCEPT]),
        ]);
        let passed: Vec<bool> =
            of("site", &pass, Some(&description)).iter().map(|route| route.passes_credentials).collect();
        assert_eq!((passed, refusal(&pass, &description)), (vec![true, false, false], None));
    }

    #[test]
    fn a_route_that_reads_credentials_without_a_right_to_them_is_refused() {
        let pass = service("public = [\"/site\"]\ncredentials = \"pass\"");
        let reads = |path, access| declared(&[(path, access, &[AUTHORIZATION][..])]);
        for (service, access) in [
            (service("public = [\"/site\"]"), Access::Public),
            (pass.clone(), Access::User),
            (pass.clone(), Access::Admin),
            (pass, Access::Internal),
        ] {
            assert_eq!(
                refusal(&service, &reads("/site/git", access)).unwrap(),
                "the route GET /site/git reads `authorization`, which only a public route of a service with `credentials = \"pass\"` \
                 gets: check [services.site] (c.toml:5)"
            );
        }
    }
}
