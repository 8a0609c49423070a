//! Prints the answers of the admin API as text for people.

use serde_json::Value;

use super::table::{Cell, Column, Table};
use crate::output::{BAD, FAINT, GOOD, WARNING, outln, styled};

fn short(digest: &Value) -> &str {
    digest.as_str().map_or("-", |digest| digest.get(..12).unwrap_or(digest))
}

fn moment(unix_seconds: i64) -> String {
    let at = time::OffsetDateTime::from_unix_timestamp(unix_seconds);
    at.ok().and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok()).unwrap_or_default()
}

/// Prints the result of a deploy. The first `shown` steps are printed already.
pub(super) fn report(report: &Value, shown: usize) {
    steps(report, shown);
    let (service, from, to) =
        (report["service"].as_str().unwrap_or_default(), short(&report["from"]), short(&report["to"]));
    if let Some(share) = report["canary"].as_str() {
        outln!("{service}: {to} is a canary for {share} of the callers, {from} answers the others");
    } else if report["changed"] == true {
        outln!("{service}: {from} -> {}", styled(GOOD, to));
    } else {
        outln!("{service}: {to} is already active, nothing changed");
    }
}

/// Prints a rollback.
pub(super) fn rolled_back(report: &Value) {
    steps(report, 0);
    let service = report["service"].as_str().unwrap_or_default();
    outln!("{service}: rolled back to {}, from {}", short(&report["to"]), short(&report["from"]));
}

fn steps(report: &Value, shown: usize) {
    report["steps"].as_array().into_iter().flatten().skip(shown).for_each(step);
    for difference in report["differences"].as_array().into_iter().flatten() {
        outln!("  {}", difference.as_str().unwrap_or_default());
    }
}

/// Prints a step of a deploy that is done.
pub(super) fn step(step: &Value) {
    let (name, note) = (step["step"].as_str().unwrap_or_default(), step["note"].as_str().unwrap_or_default());
    let took = format!("{:>9} ms", milliseconds(&step["took_us"]));
    outln!("  {} {took}  {}", styled(GOOD, format!("{name:<10}")), styled(FAINT, note));
}

/// Microseconds as milliseconds with one digit.
fn milliseconds(microseconds: &Value) -> String {
    microseconds.as_f64().map_or_else(|| "-".to_owned(), |microseconds| format!("{:.1}", microseconds / 1000.0))
}

pub(super) fn reports(reports: &Value) {
    reports.as_array().into_iter().flatten().for_each(|one| report(one, 0));
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
    use Column::{Number, Text};
    let columns = ["AT", "BY", "ACTION", "FROM", "TO", "RESULT", "WHY"].map(Text);
    let [at, by, action, from, to, result, why] = columns;
    let mut table = Table::new([Number("ID"), at, by, action, from, to, result, why]);
    for line in lines.as_array().into_iter().flatten() {
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let signed = line["signer"].as_str().map(|key| format!("signed by {key}")).unwrap_or_default();
        let why = [text("reason"), text("detail"), signed];
        let why = why.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
        let result = match &*text("result") {
            result @ ("reverted" | "aborted" | "interrupted") => Cell::styled(result, WARNING),
            result @ "refused" => Cell::styled(result, BAD),
            result @ ("active" | "kept" | "promoted") => Cell::styled(result, GOOD),
            result => result.into(),
        };
        let action = if text("action") == "revert" { Cell::styled("revert", WARNING) } else { text("action").into() };
        let (from, to) = (short(&line["from"]), short(&line["to"]));
        let at = moment(line["at"].as_i64().unwrap_or_default());
        table.row([
            line["id"].to_string().into(),
            at.into(),
            text("by").into(),
            action,
            from.into(),
            to.into(),
            result,
            why.into(),
        ]);
    }
    table.print();
}

/// Prints the active revisions, what there is to know about each, and their traffic.
pub(super) fn status(services: &Value) {
    let services = services.as_array().map_or_else(|| std::slice::from_ref(services), Vec::as_slice);
    let columns = ["SERVICE", "REVISION", "VERSION", "SINCE", "BY", "HANDLER"].map(Column::Text);
    let mut table = Table::new(columns);
    for service in services {
        let text = |name: &str| service[name].as_str().unwrap_or("-").to_owned();
        let since = service["activated"]["at"].as_i64().map_or_else(|| "-".to_owned(), moment);
        let by = service["activated"]["by"].as_str().unwrap_or("-");
        let revision = match short(&service["revision"]) {
            "-" => Cell::styled("none", BAD),
            revision => Cell::styled(revision, GOOD),
        };
        table.row([
            text("service").into(),
            revision,
            text("version").into(),
            since.into(),
            by.into(),
            text("handler").into(),
        ]);
    }
    table.print();
    services.iter().for_each(remarks);
    traffic(services.iter().flat_map(|service| [service, &service["canary"]].map(|of| (service, of))));
}

/// Prints what the operator should know about a service.
fn remarks(service: &Value) {
    let name = service["service"].as_str().unwrap_or_default();
    if let Some(note) = service["note"].as_str() {
        outln!("{}", styled(WARNING, format!("{name}: note: {note}")));
    }
    for (setting, count) in service["instances"]["refused"].as_object().into_iter().flatten() {
        if count.as_u64() > Some(0) {
            outln!("{}", styled(WARNING, format!("{name}: requests refused because `{setting}` was reached: {count}")));
        }
    }
    let canary = &service["canary"];
    if let Some(share) = canary["share"].as_str() {
        outln!("{name}: canary {} for {share} of the callers", short(&canary["revision"]));
    }
    let kept: Vec<&str> = service["kept"].as_array().into_iter().flatten().map(short).collect();
    if !kept.is_empty() {
        outln!("{name}: kept {}", kept.join(", "));
    }
}

/// Prints the steps of deploys that run now.
pub(super) fn running(overview: &Value) {
    for deploy in overview["deploys"].as_array().into_iter().flatten() {
        outln!("\n{}: a deploy runs", deploy["service"].as_str().unwrap_or_default());
        deploy["steps"].as_array().into_iter().flatten().for_each(step);
    }
}

/// Prints the share and the traffic of the canary, if one is running.
pub(super) fn canary(canary: &Value) {
    let Some(share) = canary["share"].as_str() else {
        outln!("no canary is running");
        return;
    };
    outln!("canary for {share} of the callers:");
    let mut table = Table::new(["SERVICE", "REVISION", "VERSION"].map(Column::Text));
    let services = canary["services"].as_array().map_or(&[][..], Vec::as_slice);
    for service in services {
        let text = |name: &str| service[name].as_str().unwrap_or("-").to_owned();
        table.row([text("service").into(), short(&service["revision"]).into(), text("version").into()]);
    }
    table.print();
    if services.iter().all(|service| service["traffic"].as_array().is_none_or(Vec::is_empty)) {
        outln!("no requests yet");
    }
    traffic(services.iter().map(|service| (service, service)));
}

/// Prints the canary beside the revisions with which the host compares it.
pub(super) fn compared(running: &Value, watches: &Value) {
    use Column::{Number, Text};
    canary(running);
    let is_canary = |watch: &&Value| watch["canary"] == true;
    let watches = watches.as_array().into_iter().flatten().filter(is_canary);
    let mut table = Table::new([
        Text("SERVICE"),
        Text("ROUTE"),
        Number("ACTIVE"),
        Number("BAD"),
        Number("MEDIAN"),
        Number("CANARY"),
        Number("BAD"),
        Number("MEDIAN"),
        Text("SO FAR"),
    ]);
    for service in watches.flat_map(|watch| watch["services"].as_array().into_iter().flatten()) {
        for route in service["routes"].as_array().into_iter().flatten() {
            let [old, new] = ["old", "new"].map(|side| answers(&route[side]));
            let verdict = match route["worse"].as_str() {
                Some(why) => Cell::styled(why, WARNING),
                None => Cell::styled("not worse", GOOD),
            };
            let name = |of: &Value| Cell::from(of.as_str().unwrap_or_default());
            let ([count, bad, median], [new_count, new_bad, new_median]) = (old, new);
            let (service, route) = (name(&service["service"]), name(&route["route"]));
            table.row([service, route, count, bad, median, new_count, new_bad, new_median, verdict]);
        }
    }
    if !table.is_empty() {
        outln!("");
        table.print();
    }
}

/// The requests, the bad ones, and the median latency.
fn answers(side: &Value) -> [Cell; 3] {
    let count = |name: &str| side[name].as_u64().unwrap_or_default().to_string();
    [count("requests").into(), bad(&side["bad"]), latency(&side["median_us"]).into()]
}

fn bad(count: &Value) -> Cell {
    let count = count.as_u64().unwrap_or_default();
    if count == 0 { "0".into() } else { Cell::styled(count.to_string(), BAD) }
}

fn latency(microseconds: &Value) -> String {
    if microseconds.is_null() { "-".to_owned() } else { format!("{} ms", milliseconds(microseconds)) }
}

/// Says how a canary ended, from its line of the history.
pub(super) fn ended(line: &Value) {
    let text = |name: &str| line[name].as_str().unwrap_or_default();
    let (service, result, revision) = (text("service"), text("result"), short(&line["to"]));
    let style = if result == "promoted" { GOOD } else { WARNING };
    let why = [text("detail"), text("reason")].into_iter().find(|why| !why.is_empty());
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    outln!("{}", styled(style, format!("{service}: the canary {revision} was {result}{why}")));
}

/// Prints the token alone, so that a shell can insert it into a command.
pub(super) fn token(issued: &Value) {
    outln!("{}", issued["token"].as_str().unwrap_or_default());
}

/// Prints the key that signs and the keys that still verify. If hosts share their keys, a new one starts to sign a little later,
/// when all hosts know it.
pub(super) fn keys(keys: &Value) {
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let mut table = Table::new(["KEY", "SINCE", "STATE"].map(Column::Text));
    for key in keys.as_array().into_iter().flatten() {
        let since = key["since"].as_i64().map_or_else(|| "the first start".to_owned(), moment);
        let state =
            key["until"].as_i64().map_or_else(|| signs(key, now), |until| format!("verifies until {}", moment(until)));
        table.row([key["id"].as_str().unwrap_or_default().into(), since.into(), state.into()]);
    }
    table.print();
}

fn signs(key: &Value, now: i64) -> String {
    if key["since"].as_i64().is_some_and(|since| since > now) { "signs from then on" } else { "signs" }.to_owned()
}

/// Prints the traffic of revisions, each with its service.
fn traffic<'v>(revisions: impl Iterator<Item = (&'v Value, &'v Value)>) {
    use Column::{Number, Text};
    let mut table =
        Table::new([Text("SERVICE"), Text("REVISION"), Text("ROUTE"), Number("GOOD"), Number("BAD"), Number("MEDIAN")]);
    for (service, of) in revisions {
        for route in of["traffic"].as_array().into_iter().flatten() {
            table.row([
                service["service"].as_str().unwrap_or_default().into(),
                short(&of["revision"]).into(),
                route["route"].as_str().unwrap_or_default().into(),
                route["good"].to_string().into(),
                bad(&route["bad"]),
                latency(&route["median_us"]).into(),
            ]);
        }
    }
    if !table.is_empty() {
        outln!("");
        table.print();
    }
}
