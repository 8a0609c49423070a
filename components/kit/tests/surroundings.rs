//! Tests of a small service that uses its configuration, the log, other services and remote hosts, with the stand-in for the host.

#![cfg(feature = "native")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use kit::log::Level;
use kit::native::{self, get, logged, on_outbound, on_peer};
use kit::outbound::{self, Reason};
use kit::{Failure, Method, Request, Response, config, log, peer};
use serde::{Deserialize, Serialize};
use serde_json::json;

kit::service! {
    name: "rates-service",
    health: "/rates/health",
    routes: [
        get("/rates/{currency}", Public, rate),
        get("/rates/mine", User, mine),
    ],
}

#[derive(Serialize)]
struct Wanted<'a> {
    currency: &'a str,
}

#[derive(Deserialize)]
struct Rate {
    rate: f64,
}

fn rate(request: &Request) -> Result<Response, Failure> {
    let currency = request.param("currency").unwrap_or_default();
    let key = config::secret("rates-key")?;
    let sent = outbound::post("https://rates.example/v1").header("X-Key", &key).json(&Wanted { currency: &currency });
    let rate: Rate = sent.send()?.success()?.json()?;
    log::info!("the rate of {currency} is {}", rate.rate);
    Ok(Response::ok(&rate.rate))
}

fn mine(request: &Request) -> Result<Response, Failure> {
    let path = format!("/users/{}", kit::encode(&request.user()?.username));
    let (status, body) = peer::call("user", Method::Get, &path, None)?;
    Ok(Response::ok(&(status, &body["data"])))
}

#[test]
fn a_test_answers_for_a_remote_host_and_reads_the_log() {
    native::install(&SERVICE);
    native::config([("rates-key", "placeholder")]);
    on_outbound(|request| {
        assert_eq!((request.method(), request.url()), (Method::Post, "https://rates.example/v1"));
        assert_eq!(
            (request.header_value("x-key"), request.json_value()),
            (Some("placeholder"), Some(json!({ "currency": "CHF" })))
        );
        outbound::Response::new(200).with_json(json!({ "rate": 0.94, "date": "today" }))
    });
    assert_eq!(get("/rates/CHF").send().body["data"], 0.94);
    let lines: Vec<_> = logged().into_iter().map(|line| (line.level, line.context, line.message)).collect();
    assert_eq!(lines, [(Level::Info, "surroundings".to_owned(), "the rate of CHF is 0.94".to_owned())]);
    assert!(logged().is_empty(), "they were taken");
}

#[test]
fn what_the_remote_host_does_wrong_becomes_an_error_response() {
    native::install(&SERVICE);
    assert_eq!(get("/rates/CHF").send().outcome(), (500, "INTERNAL_ERROR"), "no secret");
    native::config([("rates-key", "placeholder")]);
    assert_eq!(get("/rates/CHF").send().outcome(), (500, "INTERNAL_ERROR"), "nobody answers");
    on_outbound(|_| Reason::TimedOut);
    let late = get("/rates/CHF").send();
    assert_eq!(late.outcome(), (503, "REMOTE_UNAVAILABLE"));
    assert!(late.headers.contains(&("retry-after", "1".to_owned())), "{:?}", late.headers);
    on_outbound(|_| outbound::Response::new(200).with_json(json!({ "rate": "high" })));
    assert_eq!(get("/rates/CHF").send().outcome(), (502, "REMOTE_FAILED"));
    on_outbound(|_| outbound::Response::new(200).with_body("application/json", vec![b' '; (1 << 20) + 1]));
    assert_eq!(get("/rates/CHF").send().outcome(), (502, "REMOTE_FAILED"), "too large");
    on_outbound(|_| outbound::Response::new(500));
    assert_eq!(get("/rates/CHF").send().outcome(), (502, "REMOTE_FAILED"));
}

#[test]
fn a_test_answers_for_another_service() {
    native::install(&SERVICE);
    assert_eq!(get("/rates/mine").by("ada", "user").send().outcome(), (503, "PEER_UNAVAILABLE"));
    on_peer(|call| {
        let is_expected = call.service == "user" && call.method == Method::Get && call.body.is_null();
        is_expected.then(|| (200, json!({ "data": call.path })))
    });
    assert_eq!(get("/rates/mine").by("Ärzte", "user").send().body["data"], json!([200, "/users/%C3%84rzte"]));
}
