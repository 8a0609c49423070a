//! Sends a deploy, and prints its steps as they happen.

use std::pin::pin;
use std::time::Duration;

use hyper::Method;
use serde_json::Value;

use super::events::Events;
use super::operator::{Header, Operator, Reached, run};
use super::print;

/// How long a deploy waits for the host's events. Without them it prints its steps at its end.
const EVENTS_TIME: Duration = Duration::from_secs(1);

/// The answer to a deploy, and how many of its steps are printed already.
pub(super) struct Deployed {
    pub(super) answer: Value,
    pub(super) shown: usize,
}

/// Sends a component to a service.
pub(super) fn deploy(
    operator: &Operator,
    service: &str,
    path: &str,
    component: Vec<u8>,
    headers: &[Header],
) -> anyhow::Result<Deployed> {
    let host = operator.reach()?;
    let request = host.request(Method::PUT, path, component, headers)?;
    run(async {
        let mut connection = host.connect().await?;
        let mut progress = Progress { service, events: None, earlier: Value::Null, shown: 0 };
        if !operator.json {
            progress.begin(&host).await;
        }
        let mut answer = pin!(connection.send(request, usize::MAX));
        loop {
            tokio::select! {
                answer = &mut answer => return Ok(Deployed { answer: answer?, shown: progress.shown }),
                () = progress.show() => {}
            }
        }
    })
}

struct Progress<'s> {
    service: &'s str,
    events: Option<Events>,
    /// When a deploy began that ran already, and is not this one.
    earlier: Value,
    shown: usize,
}

impl Progress<'_> {
    async fn begin(&mut self, host: &Reached) {
        let begin = async {
            let mut events = host.events().await?;
            let overview = events.next().await?;
            anyhow::Ok((events, overview))
        };
        if let Ok(Ok((events, overview))) = tokio::time::timeout(EVENTS_TIME, begin).await {
            self.earlier = self.running(&overview)["since"].clone();
            self.events = Some(events);
        }
    }

    /// Prints the steps of the next event. Waits forever if there is none.
    async fn show(&mut self) {
        let Some(events) = &mut self.events else { return std::future::pending().await };
        let Ok(overview) = events.next().await else {
            self.events = None;
            return;
        };
        let running = self.running(&overview);
        let steps = running["steps"].as_array().filter(|_| running["since"] != self.earlier);
        for step in steps.into_iter().flatten().skip(self.shown) {
            print::step(step);
            self.shown += 1;
        }
    }

    /// The deploy of the service that runs.
    fn running<'o>(&self, overview: &'o Value) -> &'o Value {
        let mut deploys = overview["deploys"].as_array().into_iter().flatten();
        deploys.find(|deploy| deploy["service"] == self.service).unwrap_or(&Value::Null)
    }
}
