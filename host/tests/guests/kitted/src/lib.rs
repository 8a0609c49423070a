//! A service that uses what the shop does not use of the kit: log lines, configuration, requests to remote hosts and
//! embedded pages.
#![allow(missing_docs, reason = "a component of tests")]

use std::time::Duration;

use kit::{Failure, Request, Response, config, log, outbound};
use serde::{Deserialize, Serialize};

kit::service! {
    name: "kitted",
    health: "/kitted/health",
    pages: kit::pages!("pages", at "/kitted/site/"),
    routes: [
        get("/kitted/log", Public, write),
        get("/kitted/config", Public, configured),
        get("/kitted/vat", Public, vat),
        post("/kitted/pay", Public, pay),
        get("/kitted/fetch", Public, fetch),
    ],
}

/// Writes the text of the query once for each level, and then as often as the query says.
fn write(request: &Request) -> Result<Response, Failure> {
    let text = request.query("text").unwrap_or_default();
    log::debug!("debug {text}");
    log::info!("info {text}");
    log::warn!("warn {text}");
    log::error!("error {text}");
    for number in 0..request.query("times").and_then(|times| times.parse().ok()).unwrap_or(0) {
        log::info!("{number}");
    }
    Ok(Response::message("Logged."))
}

#[derive(Deserialize)]
struct Settings {
    currency: String,
    vat: f64,
}

fn configured(_: &Request) -> Result<Response, Failure> {
    let Settings { currency, vat } = config::all()?;
    Ok(Response::ok(&(currency, vat, config::get("missing"))))
}

fn vat(_: &Request) -> Result<Response, Failure> {
    Ok(Response::ok(&config::required::<f64>("vat")?))
}

#[derive(Deserialize, Serialize)]
struct Charge {
    cents: u32,
}

/// Posts the body to `url` of the configuration, with a secret.
fn pay(request: &Request) -> Result<Response, Failure> {
    let Charge { cents } = request.json()?;
    let url: String = config::required("url")?;
    let key = config::secret("payment-key")?;
    let sent = outbound::post(&url).header("Authorization", &format!("Bearer {key}")).json(&Charge { cents }).send()?;
    let charged: Charge = sent.json()?;
    Ok(Response::ok(&(sent.status, sent.header("x-answer"), charged)))
}

/// Gets the URL of the query. Says why there is no response, or lets the failure become one.
fn fetch(request: &Request) -> Result<Response, Failure> {
    let url = request.query("url").unwrap_or_default();
    let mut sending = outbound::get(&url).limit_bytes(1000);
    if let Some(milliseconds) = request.query("timeout_ms").and_then(|number| number.parse().ok()) {
        sending = sending.timeout(Duration::from_millis(milliseconds));
    }
    let sent = match request.query("explain") {
        Some(_) => match sending.send().and_then(outbound::Response::success) {
            Ok(sent) => return Ok(Response::ok(&sent.text())),
            Err(error) => return Ok(Response::ok(&format!("{:?}", error.reason()))),
        },
        None => sending.send()?.success()?,
    };
    Ok(Response::ok(&sent.json::<Charge>()?.cents))
}
