//! Prints the answers of the admin API as text for people.

use serde_json::Value;

use crate::output::outln;

fn short(digest: &Value) -> &str {
    digest.as_str().map_or("-", |digest| digest.get(..12).unwrap_or(digest))
}

fn moment(unix_seconds: i64) -> String {
    let at = time::OffsetDateTime::from_unix_timestamp(unix_seconds);
    at.ok().and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok()).unwrap_or_default()
}

pub(super) fn report(report: &Value) {
    steps(report);
    let (service, from, to) =
        (report["service"].as_str().unwrap_or_default(), short(&report["from"]), short(&report["to"]));
    if let Some(share) = report["canary"].as_str() {
        outln!("{service}: {to} is a canary for {share} of the callers, {from} answers the others");
    } else if report["changed"] == true {
        outln!("{service}: {from} -> {to}");
    } else {
        outln!("{service}: {to} is already active, nothing changed");
    }
}

/// Prints a rollback.
pub(super) fn rolled_back(report: &Value) {
    steps(report);
    let service = report["service"].as_str().unwrap_or_default();
    outln!("{service}: rolled back to {}, from {}", short(&report["to"]), short(&report["from"]));
}

fn steps(report: &Value) {
    for step in report["steps"].as_array().into_iter().flatten() {
        #[allow(clippy::cast_precision_loss, reason = "microseconds for people")]
        let milliseconds = step["took_us"].as_u64().unwrap_or_default() as f64 / 1000.0;
        outln!(
            "  {:<10} {milliseconds:>9.1} ms  {}",
            step["step"].as_str().unwrap_or_default(),
            step["note"].as_str().unwrap_or_default()
        );
    }
    for difference in report["differences"].as_array().into_iter().flatten() {
        outln!("  {}", difference.as_str().unwrap_or_default());
    }
}

pub(super) fn reports(reports: &Value) {
    reports.as_array().into_iter().flatten().for_each(report);
}

/// Prints what a reload changed, or would change.
pub(super) fn reloaded(reloaded: &Value) {
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let (added, removed, keys) = (texts(&reloaded["added"]), texts(&reloaded["removed"]), texts(&reloaded["keys"]));
    let changed: Vec<String> = reloaded["changed"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, keys)| format!("{name}: {}", texts(keys).join(", ")))
        .collect();
    let changes = [("added", added), ("removed", removed), ("changed", changed), ("changed", keys)];
    let is_same = changes.iter().all(|(_, names)| names.is_empty());
    match (reloaded["applied"] == true, is_same) {
        (true, true) => outln!("reloaded: the manifest says the same as before"),
        (true, false) => outln!("reloaded:"),
        (false, true) => outln!("valid: a reload would change nothing in the manifest's keys"),
        (false, false) => outln!("valid: a reload would change this:"),
    }
    for (what, names) in changes {
        names.iter().for_each(|name| outln!("  {what:<8} {name}"));
    }
    for report in reloaded["revisions"].as_array().into_iter().flatten() {
        let service = report["service"].as_str().unwrap_or_default();
        outln!("  active   {service}: {} -> {}", short(&report["from"]), short(&report["to"]));
    }
    for (name, url) in reloaded["listeners"].as_object().into_iter().flatten() {
        outln!("  listens  {name:<8} {}", url.as_str().unwrap_or_default());
    }
}

pub(super) fn aborted(aborted: &Value) {
    for service in aborted["services"].as_array().into_iter().flatten() {
        outln!("{}: canary aborted, the active revision answers all callers", service.as_str().unwrap_or_default());
    }
}

pub(super) fn history(lines: &Value) {
    for line in lines.as_array().into_iter().flatten() {
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let at = moment(line["at"].as_i64().unwrap_or_default());
        let signed = line["signer"].as_str().map(|key| format!("signed by {key}")).unwrap_or_default();
        let why = [text("reason"), text("detail"), signed];
        let why = why.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
        outln!(
            "{:>4}  {at}  {:<9} {:<12} {} -> {}  {:<11} {why}",
            line["id"],
            text("by"),
            text("action"),
            short(&line["from"]),
            short(&line["to"]),
            text("result")
        );
    }
}

pub(super) fn status(services: &Value) {
    let one = std::slice::from_ref(services);
    for service in services.as_array().map_or(one, Vec::as_slice) {
        let text = |name: &str| service[name].as_str().unwrap_or_default();
        outln!(
            "{}  {}  version {}  {}",
            text("service"),
            short(&service["revision"]),
            text("version"),
            text("handler")
        );
        if let Some(note) = service["note"].as_str() {
            outln!("  note: {note}");
        }
        for (setting, count) in service["instances"]["refused"].as_object().into_iter().flatten() {
            if count.as_u64() > Some(0) {
                outln!("  requests refused because `{setting}` was reached: {count}");
            }
        }
        let canary = &service["canary"];
        if let Some(share) = canary["share"].as_str() {
            outln!("  canary {} for {share} of the callers", short(&canary["revision"]));
            traffic(canary);
        }
        for kept in service["kept"].as_array().into_iter().flatten() {
            outln!("  kept {}", short(kept));
        }
        traffic(service);
    }
}

/// Prints the share and the traffic of the canary, if one is running.
pub(super) fn canary(canary: &Value) {
    let Some(share) = canary["share"].as_str() else {
        outln!("no canary is running");
        return;
    };
    outln!("canary for {share} of the callers:");
    for service in canary["services"].as_array().into_iter().flatten() {
        outln!("{}  {}", service["service"].as_str().unwrap_or_default(), short(&service["revision"]));
        if service["traffic"].as_array().is_none_or(Vec::is_empty) {
            outln!("  no requests yet");
        }
        traffic(service);
    }
}

/// Prints the token alone, so that a shell can insert it into a command.
pub(super) fn token(issued: &Value) {
    outln!("{}", issued["token"].as_str().unwrap_or_default());
}

/// Prints the key that signs and the keys that still verify. If hosts share their keys, a new one starts to sign a little later,
/// when all hosts know it.
pub(super) fn keys(keys: &Value) {
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    for key in keys.as_array().into_iter().flatten() {
        let since = key["since"].as_i64().map_or_else(|| "the first start".to_owned(), moment);
        let does =
            key["until"].as_i64().map_or_else(|| signs(key, now), |until| format!("verifies until {}", moment(until)));
        outln!("{}  since {since}  {does}", key["id"].as_str().unwrap_or_default());
    }
}

fn signs(key: &Value, now: i64) -> String {
    if key["since"].as_i64().is_some_and(|since| since > now) { "signs from then on" } else { "signs" }.to_owned()
}

fn traffic(of: &Value) {
    for route in of["traffic"].as_array().into_iter().flatten() {
        let median = route["median_us"].as_f64().unwrap_or_default() / 1000.0;
        outln!(
            "  {:<32} {:>8} good {:>6} bad  median {median:.1} ms",
            route["route"].as_str().unwrap_or_default(),
            route["good"],
            route["bad"]
        );
    }
}
