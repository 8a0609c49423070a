//! `comptoir status --watch` and `comptoir canary --watch`: print again whenever something changes.

use std::ops::ControlFlow;

use comptoir::printable::printable_json;
use serde_json::Value;

use super::operator::{Operator, Reached, run};
use super::print;
use crate::output::{begin_picture, is_unread, outln};

/// Prints the status of one service, or of all, until the host stops.
pub(super) fn status(operator: &Operator, path: &str) -> anyhow::Result<()> {
    let host = operator.reach()?;
    run(async {
        let (mut events, mut connection) = (host.events().await?, host.connect().await?);
        loop {
            let overview = events.next().await?;
            let services = host.get(&mut connection, path).await?;
            show(operator, &services, || {
                print::status(&services);
                print::running(&overview);
            });
            if is_unread() {
                return Ok(());
            }
        }
    })
}

/// Prints the canary and what it is compared with, until it ends. Then says how it ended.
pub(super) fn canary(operator: &Operator) -> anyhow::Result<()> {
    let host = operator.reach()?;
    run(async {
        let mut events = host.events().await?;
        let mut last = Value::Null;
        loop {
            let overview = events.next().await?;
            match next(&overview) {
                ControlFlow::Continue(canary) => {
                    show(operator, canary, || print::compared(canary, &overview["watches"]));
                    last = canary.clone();
                }
                ControlFlow::Break(()) if last.is_null() => {
                    print::canary(&Value::Null);
                    return Ok(());
                }
                ControlFlow::Break(()) => return end(&host, &last).await,
            }
            if is_unread() {
                return Ok(());
            }
        }
    })
}

/// The canary that runs.
fn next(overview: &Value) -> ControlFlow<(), &Value> {
    if overview["canary"].is_null() { ControlFlow::Break(()) } else { ControlFlow::Continue(&overview["canary"]) }
}

/// Says how a canary ended.
async fn end(host: &Reached, canary: &Value) -> anyhow::Result<()> {
    let mut connection = host.connect().await?;
    for candidate in canary["services"].as_array().into_iter().flatten() {
        let service = candidate["service"].as_str().unwrap_or_default();
        let history = host.get(&mut connection, &format!("/services/{service}/history")).await?;
        let is_it = |line: &&Value| line["action"] == "canary" && line["to"] == candidate["revision"];
        if let Some(line) = history.as_array().into_iter().flatten().find(is_it) {
            print::ended(line);
        }
    }
    Ok(())
}

fn show(operator: &Operator, data: &Value, print: impl FnOnce()) {
    if operator.json {
        return outln!("{}", printable_json(&data.to_string()));
    }
    begin_picture();
    print();
}
