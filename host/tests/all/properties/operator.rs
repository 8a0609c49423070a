//! The admin listener answers any request in the envelope. Only the operator changes anything, and invalid components are
//! refused.

use comptoir::deploy::Share;
use proptest::prelude::*;
use proptest::sample::select;
use reqwest::Method;
use testing::{Shop, send, shop_manifest};

use super::{bytes, runner, text};

/// A random request.
#[derive(Debug, Clone)]
struct Call {
    method: Method,
    path: Vec<String>,
    query: Vec<(String, String)>,
    body: Vec<u8>,
    /// A token other than the operator's. None: the operator's.
    token: Option<String>,
}

/// The longest target that the HTTP client of these tests sends.
const TARGET_BYTES: usize = 60_000;

fn word(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop_oneof![6 => select(words).prop_map(str::to_owned), 1 => text()]
}

fn value() -> impl Strategy<Value = String> {
    let shares = (any::<u16>(), any::<u16>()).prop_map(|(whole, rest)| format!("{whole}.{rest}%"));
    let share = (0..1000_u16).prop_map(|whole| format!("{whole}%"));
    prop_oneof![text(), shares, share, select(&["true", "false", "5%", "0%"][..]).prop_map(str::to_owned)]
}

fn call() -> impl Strategy<Value = Call> {
    let methods = select(vec![Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::HEAD, Method::OPTIONS]);
    const PATHS: &[&str] =
        &["services", "canary", "orders", "rollback", "history", "promote", "abort", "keys", "rotate", "readyz", "x"];
    const NAMES: &[&str] = &["share", "to", "reason", "force", "digest", "canary", "set"];
    let path = prop::collection::vec(word(PATHS), 0..4);
    let query = prop::collection::vec((word(NAMES), value()), 0..3);
    (methods, path, query, bytes(), prop::option::weighted(0.2, "[!-~]{0,60}"))
        .prop_map(|(method, path, query, body, token)| Call { method, path, query, body, token })
}

fn escaped(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

async fn holds(shop: &Shop, call: Call) -> Result<(), TestCaseError> {
    let operator = shop.operator();
    let client = match &call.token {
        Some(token) => operator.with_token(token),
        None => operator,
    };
    let path: Vec<String> = call.path.iter().map(|segment| escaped(segment)).collect();
    let query: Vec<String> =
        call.query.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    let target = format!("/{}?{}", path.join("/"), query.join("&"));
    if target.len() > TARGET_BYTES {
        return Ok(());
    }
    let request = client.request(call.method.clone(), &target);
    let answer = send(request.body(call.body)).await;
    let status = answer.status.as_u16();
    prop_assert!(status < 500, "{} {}", status, answer.text);
    // `..` changes the path, and a target that is too long is refused before the token is checked.
    let guarded = path.first().is_some_and(|first| ["services", "canary", "keys"].contains(&first.as_str()))
        && path.iter().all(|segment| segment != "..");
    prop_assert!(!guarded || call.token.is_none() || [401, 414].contains(&status), "{} {}", status, answer.text);
    if status >= 400 && call.method != Method::HEAD {
        prop_assert_eq!(&answer.body["success"], false, "{}", answer.text);
        prop_assert!(answer.body["error"]["code"].is_string(), "{}", answer.text);
    }
    Ok(())
}

#[test]
fn any_request_is_answered_and_changes_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let shop = runtime.block_on(Shop::with(shop_manifest()));
    let serving =
        || runtime.block_on(async { shop.operator().get("/services/orders").await.data()["revision"].clone() });
    let before = serving();
    runner(150).run(&call(), |call| runtime.block_on(holds(&shop, call))).unwrap();
    assert_eq!(serving(), before);
    runtime.block_on(async { drop(shop) });
}

#[test]
fn a_share_reads_back_as_it_is_printed_and_other_texts_are_refused() {
    let held = runner(1_000).run(&(value(), 0..=10_000_u16), |(value, points)| {
        let share = Share::from_basis_points(points);
        prop_assert_eq!(share.to_string().parse::<Share>().ok(), Some(share));
        if let Ok(share) = value.parse::<Share>() {
            let number: f64 = value.trim_end_matches('%').parse().unwrap();
            prop_assert_eq!(f64::from(share.basis_points()), (number * 100.0).round(), "{}", value);
        }
        Ok(())
    });
    held.unwrap();
}
