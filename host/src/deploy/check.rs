//! Checks that the manifest allows what a component does: its imports, its routes, and how it uses passwords.

use std::collections::BTreeMap;
use std::path::Path;

use hyper::header::AUTHORIZATION;

use super::Served;
use crate::engine::Wasi;
use crate::guest::Requirement;
use crate::manifest::{Manifest, Reuse, Service, is_inside};
use crate::passwords::MINIMUM_CHARACTERS;
use crate::route::{Access, Route};

/// How many imports one refusal explains. The others are only counted.
const EXPLAINED: usize = 10;

/// Checks that every import of a component is granted.
///
/// # Errors
/// One sentence for each import that is not, with the line of the manifest that would grant it.
pub(super) fn imports(
    name: &str,
    service: &Service,
    component: &str,
    manifest: &Path,
    imports: &[String],
) -> Result<(), String> {
    let place = format!("[services.{name}] ({}:{})", manifest.display(), service.line);
    let refusals: Vec<String> = imports
        .iter()
        .filter_map(|import| {
            let rest = Requirement::of(import).refusal(&service.grants, &place)?;
            Some(format!("{component} imports `{import}`, {rest}"))
        })
        .collect();
    match refusals.len() {
        0 => Ok(()),
        count if count <= EXPLAINED => Err(refusals.join("; ")),
        count => Err(format!("{}; and {} more imports", refusals[..EXPLAINED].join("; "), count - EXPLAINED)),
    }
}

/// Checks that a component for WASI 0.3 has no reusable instances.
///
/// # Errors
/// A sentence with the line of the manifest.
pub(super) fn reuse(name: &str, service: &Service, manifest: &Path, wasi: Wasi) -> Result<(), String> {
    if wasi == Wasi::P2 || service.reuse == Reuse::Never {
        return Ok(());
    }
    let place = format!("[services.{name}] ({}:{})", manifest.display(), service.line);
    Err(format!("an instance of a WASI 0.3 component answers only one request: remove `reuse` from {place}"))
}

/// Checks that a component that hashes passwords also asks for their minimum length, if the manifest raises that.
///
/// # Errors
/// A sentence that says what to change.
pub(super) fn passwords(manifest: &Manifest, component: &str, functions: &[String]) -> Result<(), String> {
    let imports = |name: &str| functions.iter().any(|function| function == name);
    let minimum = manifest.passwords.minimum;
    if minimum <= MINIMUM_CHARACTERS || !imports("hash") || imports("minimum-length") {
        return Ok(());
    }
    Err(format!(
        "{component} hashes passwords, but does not ask for their minimum length. `minimum` in [passwords] sets it to \
         {minimum} ({}): call `passwords.minimum-length` in the component, or remove `minimum`",
        manifest.file.display()
    ))
}

/// Checks that all routes are inside the mounts, and that the manifest allows the public ones and those that read credentials.
///
/// # Errors
/// A sentence that names the route and the line of the manifest.
pub(super) fn routes(name: &str, service: &Service, manifest: &Path, routes: &[Route]) -> Result<(), String> {
    let place = format!("[services.{name}] ({}:{})", manifest.display(), service.line);
    for Route { pattern, access, method, headers, passes_credentials, .. } in routes {
        let method = method.as_ref().map_or("*", hyper::Method::as_str);
        if headers.iter().any(|headers| headers.contains(&AUTHORIZATION)) && !passes_credentials {
            return Err(format!(
                "the route {method} {pattern} reads `authorization`, which only a public route of a service with \
                 `credentials = \"pass\"` gets: check {place}"
            ));
        }
        if *access == Access::Internal {
            continue;
        }
        if !service.mounts.iter().any(|mount| is_inside(pattern, mount)) {
            let mounts = service.mounts.join(", ");
            return Err(format!("the route {method} {pattern} is outside of its mounts ({mounts}) in {place}"));
        }
        if *access == Access::Public && !service.public.iter().any(|public| is_inside(pattern, public)) {
            return Err(format!("the route {method} {pattern} is public, which `public` in {place} does not allow"));
        }
    }
    Ok(())
}

/// The differences in routes and imports between two revisions, one sentence each.
pub(super) fn differences(before: &Served, after: &Served) -> Vec<String> {
    let name =
        |route: &Route| format!("{} {}", route.method.as_ref().map_or("*", hyper::Method::as_str), route.pattern);
    let by_name = |routes: &[Route]| routes.iter().map(|route| (name(route), route.access)).collect::<BTreeMap<_, _>>();
    let (olds, news) = (by_name(&before.routes), by_name(&after.routes));
    let mut differences = Vec::new();
    for route in &after.routes {
        match olds.get(&name(route)) {
            None => differences.push(format!("route added: {} ({:?})", name(route), route.access).to_owned()),
            Some(old) if *old != route.access => {
                differences.push(format!("route access changed: {} from {old:?} to {:?}", name(route), route.access));
            }
            Some(_) => {}
        }
    }
    let gone = olds.keys().filter(|name| !news.contains_key(*name));
    differences.extend(gone.map(|name| format!("route removed: {name}")));
    let added = after.imports.iter().filter(|import| !before.imports.contains(import));
    differences.extend(added.map(|import| format!("import added: {import}")));
    let removed = before.imports.iter().filter(|import| !after.imports.contains(import));
    differences.extend(removed.map(|import| format!("import removed: {import}")));
    differences
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn manifest(extra: &str) -> Manifest {
        let text = format!(
            "[listeners]\ngateway = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\n[services.orders]\ncomponent = \"o.wasm\"\n\
             mounts = [\"/orders\"]\n{extra}"
        );
        Manifest::parse(Path::new("c.toml"), &text).unwrap()
    }

    fn service(extra: &str) -> Service {
        manifest(extra).services["orders"].clone()
    }

    fn refusal(extra: &str, import: &str) -> Option<String> {
        imports("orders", &service(extra), "o.wasm", Path::new("c.toml"), &[import.to_owned()]).err()
    }

    #[test]
    fn imports_of_a_standard_library_need_no_grant() {
        for import in [
            "wasi:cli/environment@0.2.6",
            "wasi:io/streams@0.2.12",
            "wasi:http/types@0.3.0",
            "wasi:clocks/wall-clock@0.2.0",
            "wasi:filesystem/preopens@0.2.6",
            "wasi:sockets/tcp@0.2.6",
            "wasi:http/outgoing-handler@0.2.12",
            "wasi:http/client@0.3.0",
            "comptoir:platform/session@0.1.0",
        ] {
            assert_eq!(refusal("", import), None);
        }
    }

    #[test]
    fn a_refused_import_is_explained_with_the_line_to_change() {
        assert_eq!(
            refusal("", "comptoir:platform/tokens@0.1.0").unwrap(),
            "o.wasm imports `comptoir:platform/tokens@0.1.0`, which was not granted: add \"tokens\" to `grants` \
             in [services.orders] (c.toml:5)"
        );
        assert_eq!(refusal("grants = [\"tokens\"]", "comptoir:platform/tokens@0.1.0"), None);
    }

    #[test]
    fn a_refusal_explains_ten_imports_and_counts_the_others() {
        let many: Vec<String> = (0..500).map(|number| format!("wasi:webgpu/part{number}@0.2.6")).collect();
        let refused = imports("orders", &service(""), "o.wasm", Path::new("c.toml"), &many).unwrap_err();
        assert!(refused.contains("part9@") && !refused.contains("part10@"), "{refused}");
        assert!(refused.ends_with("; and 490 more imports"), "{refused}");
    }

    #[test]
    fn a_raised_password_minimum_must_be_asked_for() {
        let check = |rules: &str, functions: &[&str]| {
            let functions: Vec<String> = functions.iter().map(|name| (*name).to_owned()).collect();
            passwords(&manifest(rules), "o.wasm", &functions)
        };
        let raised = "[passwords]\nminimum = 9\n";
        assert_eq!(
            check(raised, &["hash", "verify"]).unwrap_err(),
            "o.wasm hashes passwords, but does not ask for their minimum length. `minimum` in [passwords] sets it to \
             9 (c.toml): call `passwords.minimum-length` in the component, or remove `minimum`"
        );
        for sound in [&["hash", "minimum-length"][..], &["verify"], &[]] {
            assert_eq!(check(raised, sound), Ok(()), "{sound:?}");
        }
        assert_eq!(check("", &["hash"]), Ok(()));
        assert_eq!(check("[passwords]\nminimum = 8\n", &["hash"]), Ok(()));
    }

    #[test]
    fn an_interface_that_the_host_does_not_know_is_refused_for_every_service() {
        for import in ["wasi:webgpu/webgpu@0.2.6", "comptoir:platform/everything", "env"] {
            assert!(
                refusal("", import).unwrap().ends_with("which this host does not offer to any service"),
                "{import}"
            );
        }
    }
}
