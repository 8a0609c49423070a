//! For any routes and any path, the route table is refused, or finds the route that the patterns describe.

use std::sync::Arc;

use comptoir::route::{Access, NoRoute, Route, RouteTable};
use proptest::prelude::*;
use proptest::sample::select;
use reqwest::Method;

use super::{runner, text};

fn method() -> impl Strategy<Value = Method> {
    select(vec![Method::GET, Method::POST, Method::PUT, Method::DELETE])
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => select(vec!["a", "b", "ab", "A", "", "*", ":a", "a%2fb", "é"]).prop_map(str::to_owned),
        4 => select(vec!["{id}", "{name}", "{a_1}"]).prop_map(str::to_owned),
        1 => select(vec!["{*rest}", "{*other}", "{}", "{a-b}", "{{a}}", "x{id}", "{id}x", "{", "}"]).prop_map(str::to_owned),
        1 => text(),
    ]
}

fn joined(segments: &[String]) -> String {
    format!("/{}", segments.join("/"))
}

fn route() -> impl Strategy<Value = Route> {
    let pattern =
        prop_oneof![12 => prop::collection::vec(segment(), 1..4).prop_map(|segments| joined(&segments)), 1 => text()];
    (pattern, prop::option::weighted(0.8, method()), select(vec!["one", "other"])).prop_map(
        |(pattern, method, service)| {
            let pattern: Arc<str> = pattern.into();
            Route {
                service: service.into(),
                method,
                pattern,
                strip: None,
                access: Access::Public,
                headers: None,
                passes_credentials: false,
            }
        },
    )
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![8 => prop::collection::vec(segment(), 0..5).prop_map(|segments| joined(&segments)), 1 => text()]
}

/// Whether a path matches a pattern, implemented in the simplest way.
fn fits(pattern: &str, path: &str) -> bool {
    let (mut wanted, mut there) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), there.next()) {
            (None, None) => return true,
            (Some("{*rest}"), Some(first)) => return !first.is_empty() || there.next().is_some(),
            (Some(parameter), Some(text)) if parameter.starts_with('{') && !text.is_empty() => {}
            (Some(literal), Some(text)) if literal == text && !literal.starts_with('{') => {}
            _ => return false,
        }
    }
}

fn holds(routes: &[Route], table: &RouteTable, method: &Method, path: &str) -> Result<(), TestCaseError> {
    let fitting = || routes.iter().filter(|route| fits(&route.pattern, path));
    match table.find(method, path) {
        Ok(found) => {
            prop_assert!(!path.starts_with("//"));
            prop_assert!(routes.contains(found) && fits(&found.pattern, path), "{path} found {}", found.pattern);
            prop_assert!(found.method.as_ref().is_none_or(|own| own == method));
            let answers = |route: &&Route| route.method.as_ref().is_none_or(|own| own == method);
            let literal = fitting().filter(answers).find(|route| *route.pattern == *path);
            prop_assert!(
                literal.is_none_or(|literal| literal.pattern == found.pattern),
                "{path} found {}",
                found.pattern
            );
        }
        // A guest that redirects to a path with two slashes at its start would redirect to another host.
        Err(NoRoute::Path) => {
            prop_assert!(path.starts_with("//") || fitting().next().is_none(), "{path} finds no route");
        }
        Err(NoRoute::Method(allow)) => {
            prop_assert!(fitting().next().is_some(), "{path} allows {allow}");
            prop_assert!(
                !allow.split(", ").any(|allowed| allowed == method.as_str()),
                "{method} {path} allows {allow}"
            );
        }
        Err(NoRoute::Options(_)) => prop_assert!(false, "no request was OPTIONS"),
    }
    if *method == Method::GET {
        prop_assert_eq!(table.find(&Method::HEAD, path).ok(), table.find(method, path).ok());
    }
    Ok(())
}

#[test]
fn any_route_table_is_refused_or_finds_what_its_patterns_describe() {
    let cases = (prop::collection::vec(route(), 0..8), prop::collection::vec((method(), path()), 1..8));
    let held = runner(2_000).run(&cases, |(routes, asked)| {
        let Ok(table) = RouteTable::new(routes.clone()) else { return Ok(()) };
        asked.iter().try_for_each(|(method, path)| holds(&routes, &table, method, path))
    });
    held.unwrap();
}
