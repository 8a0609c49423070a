//! Whatever is sent to the operator's listener: it answers in the envelope, nobody but the operator changes anything, and what
//! is no component is refused.

use comptoir::deploy::Share;
use proptest::prelude::*;
use proptest::sample::select;
use reqwest::Method;
use testing::{Shop, send, shop_manifest};

use super::{bytes, runner, text};

/// One request.
#[derive(Debug, Clone)]
struct Asked {
    method: Method,
    path: Vec<String>,
    query: Vec<(String, String)>,
    body: Vec<u8>,
    /// The token, where it is not the operator's.
    token: Option<String>,
}

/// The client of these tests sends no longer targets.
const TARGET_BYTES: usize = 60_000;

fn word(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop_oneof![6 => select(words).prop_map(str::to_owned), 1 => text()]
}

fn value() -> impl Strategy<Value = String> {
    let shares = (any::<u16>(), any::<u16>()).prop_map(|(whole, rest)| format!("{whole}.{rest}%"));
    let share = (0..1000_u16).prop_map(|whole| format!("{whole}%"));
    prop_oneof![text(), shares, share, select(&["true", "false", "5%", "0%"][..]).prop_map(str::to_owned)]
}

fn asked() -> impl Strategy<Value = Asked> {
    let methods = select(vec![Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::HEAD, Method::OPTIONS]);
    const PATHS: &[&str] =
        &["services", "canary", "orders", "rollback", "history", "promote", "abort", "keys", "rotate", "readyz", "x"];
    const NAMES: &[&str] = &["share", "to", "reason", "force", "digest", "canary", "set"];
    let path = prop::collection::vec(word(PATHS), 0..4);
    let query = prop::collection::vec((word(NAMES), value()), 0..3);
    (methods, path, query, bytes(), prop::option::weighted(0.2, "[!-~]{0,60}"))
        .prop_map(|(method, path, query, body, token)| Asked { method, path, query, body, token })
}

fn escaped(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

async fn holds(shop: &Shop, asked: Asked) -> Result<(), TestCaseError> {
    let operator = shop.operator();
    let client = match &asked.token {
        Some(token) => operator.with_token(token),
        None => operator,
    };
    let path: Vec<String> = asked.path.iter().map(|segment| escaped(segment)).collect();
    let query: Vec<String> =
        asked.query.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    let target = format!("/{}?{}", path.join("/"), query.join("&"));
    if target.len() > TARGET_BYTES {
        return Ok(());
    }
    let request = client.request(asked.method.clone(), &target);
    let answer = send(request.body(asked.body)).await;
    let status = answer.status.as_u16();
    prop_assert!(status < 500, "{} {}", status, answer.text);
    // `..` leads elsewhere, and a target that is too long is refused before its token is looked at.
    let guarded = path.first().is_some_and(|first| ["services", "canary", "keys"].contains(&first.as_str()))
        && path.iter().all(|segment| segment != "..");
    prop_assert!(!guarded || asked.token.is_none() || [401, 414].contains(&status), "{} {}", status, answer.text);
    if status >= 400 && asked.method != Method::HEAD {
        prop_assert_eq!(&answer.body["success"], false, "{}", answer.text);
        prop_assert!(answer.body["error"]["code"].is_string(), "{}", answer.text);
    }
    Ok(())
}

#[test]
fn whatever_is_sent_to_the_operators_listener_is_answered_and_changes_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let shop = runtime.block_on(Shop::with(shop_manifest()));
    let serving =
        || runtime.block_on(async { shop.operator().get("/services/orders").await.data()["revision"].clone() });
    let before = serving();
    runner(150).run(&asked(), |asked| runtime.block_on(holds(&shop, asked))).unwrap();
    assert_eq!(serving(), before);
    runtime.block_on(async { drop(shop) });
}

#[test]
fn a_share_of_the_callers_is_read_as_it_is_written_and_nothing_else_is_one() {
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
