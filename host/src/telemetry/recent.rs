//! The latest requests and calls of each service, for the operator's console. In memory, bounded.
//!
//! Failures are always kept. All other requests are kept only while somebody looks, so that they cost nothing otherwise.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use super::statements::{Noted, RecentStatement};

/// The most requests that are kept of each service.
const REQUESTS: usize = 500;

/// The most characters of a cause, and of what a guest printed.
const TEXT: usize = 2048;

/// How long after the last look all requests are kept.
const LOOK_TIME: Duration = Duration::from_secs(60);

/// The value of `until` if all requests need not be kept.
const NOBODY: u64 = 0;

/// A request of a client, or a call from one service to another.
#[derive(Debug, Clone, Serialize)]
pub struct RecentRequest {
    /// When it began, in seconds since 1970-01-01 UTC.
    pub at: f64,
    /// The id that the log and the response have. Calls have the id of the client's request.
    pub request_id: String,
    /// The client's address. None for a call.
    pub client: Option<String>,
    /// The service that made the call. None for the request of a client.
    pub caller: Option<String>,
    /// The user whose token the gate accepted. None for an anonymous caller.
    pub user: Option<String>,
    /// The service that answered, or `-`.
    pub service: String,
    /// The revision that answered, or `-`.
    pub revision: String,
    /// The HTTP method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The pattern of the route, or `-`.
    pub route: String,
    /// The HTTP status. 499 if the client went away.
    pub status: u16,
    /// From the head of the request to the head of the response, or to the end of a stream, in microseconds.
    pub duration_us: u64,
    /// Why it failed.
    pub cause: Option<String>,
    /// What the guest printed.
    pub output: Option<String>,
    /// Its SQL statements, if somebody looked when it began. Only in the answer about one request.
    #[serde(serialize_with = "list")]
    pub statements: Arc<[RecentStatement]>,
    /// How many statements followed these.
    pub further_statements: u64,
}

fn list<S: Serializer>(statements: &[RecentStatement], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(statements)
}

/// The latest requests.
#[derive(Debug, Default)]
pub struct Recent {
    services: Mutex<HashMap<String, VecDeque<RecentRequest>>>,
    /// Until when all requests are kept, in milliseconds since 1970-01-01 UTC.
    until: AtomicU64,
}

/// Which requests to show. A member that is None allows all.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The name of the service.
    pub service: Option<String>,
    /// A status, or a class such as `5xx`.
    pub status: Option<String>,
    /// The beginning of the digest, or the whole name of the revision.
    pub revision: Option<String>,
    /// The id of the request. Statements are shown only with it.
    pub id: Option<String>,
    /// The name of the user.
    pub user: Option<String>,
    /// Whether to show the calls from one service to another, too.
    pub with_calls: bool,
}

impl Recent {
    /// Whether somebody looked within the last minute, or a little longer ago. Costs no clock.
    pub fn is_watched(&self) -> bool {
        self.until.load(Ordering::Relaxed) != NOBODY
    }

    /// Keeps a request, if it failed or somebody looks. `request` is called only then.
    pub fn keep(&self, failed: bool, took: Duration, request: impl FnOnce(f64) -> RecentRequest) {
        let until = self.until.load(Ordering::Relaxed);
        // The usual case: nobody has looked for a minute, so this does not even read the clock.
        if !failed && until == NOBODY {
            return;
        }
        let now = now();
        if !failed && until < millis(now) {
            // Fails if somebody has looked meanwhile.
            let _looked = self.until.compare_exchange(until, NOBODY, Ordering::Relaxed, Ordering::Relaxed);
            return;
        }
        let mut request = request(now.saturating_sub(took).as_secs_f64());
        request.cause = request.cause.map(shortened);
        request.output = request.output.map(shortened);
        let mut services = self.locked();
        let of_service = services.entry(request.service.clone()).or_default();
        if of_service.len() >= REQUESTS {
            of_service.pop_front();
        }
        of_service.push_back(request);
    }

    /// The newest of these requests, at most `most`. From now on, all requests are kept for a minute.
    pub fn look(&self, wanted: &Wanted, most: usize) -> Vec<RecentRequest> {
        self.until.store(millis(now() + LOOK_TIME), Ordering::Relaxed);
        let services = self.locked();
        let mut found: Vec<&RecentRequest> = services.values().flatten().filter(|one| wanted.matches(one)).collect();
        found.sort_by(|one, other| other.at.total_cmp(&one.at));
        let shown = |one: &RecentRequest| match wanted.id {
            Some(_) => one.clone(),
            None => one.clone().with_statements(None),
        };
        found.into_iter().take(most).map(shown).collect()
    }

    /// Forgets the requests of services that the manifest does not have any more.
    pub fn retain(&self, is_service: impl Fn(&str) -> bool) {
        self.locked().retain(|service, _| service == super::NO_LABEL || is_service(service));
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, VecDeque<RecentRequest>>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RecentRequest {
    /// The request with the statements that were noted.
    #[must_use]
    pub fn with_statements(self, noted: Option<Noted>) -> Self {
        let Noted { statements, further } = noted.unwrap_or_default();
        Self { statements: statements.into(), further_statements: further, ..self }
    }
}

impl Wanted {
    fn matches(&self, request: &RecentRequest) -> bool {
        let RecentRequest { service, status, revision, request_id, .. } = request;
        let status = status.to_string();
        let digest = revision.split('@').next_back().unwrap_or_default();
        (self.with_calls || request.caller.is_none())
            && self.service.as_deref().is_none_or(|wanted| wanted == service)
            && self.status.as_deref().is_none_or(|wanted| wanted == status || wanted == class(&status))
            && self.revision.as_deref().is_none_or(|wanted| wanted == revision || digest.starts_with(wanted))
            && self.id.as_deref().is_none_or(|wanted| wanted == request_id)
            && self.user.as_deref().is_none_or(|wanted| request.user.as_deref() == Some(wanted))
    }
}

/// `5xx` for 503.
fn class(status: &str) -> String {
    format!("{}xx", &status[..1])
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(recent: &Recent, service: &str, status: u16, id: usize) {
        recent.keep(status >= 500, Duration::from_millis(1), |at| RecentRequest {
            at,
            request_id: id.to_string(),
            client: None,
            caller: None,
            user: (status == 404).then(|| "ada".to_owned()),
            service: service.to_owned(),
            revision: format!("{service}@0123456789ab"),
            method: "GET".to_owned(),
            path: "/".to_owned(),
            route: "/".to_owned(),
            status,
            duration_us: 1000,
            cause: Some("x".repeat(5000)),
            output: None,
            statements: Arc::default(),
            further_statements: 0,
        });
    }

    #[test]
    fn failures_are_always_kept_and_other_requests_while_somebody_looks() {
        let recent = Recent::default();
        keep(&recent, "orders", 200, 1);
        keep(&recent, "orders", 500, 2);
        let ids = |wanted: &Wanted| -> Vec<String> {
            recent.look(wanted, 10).iter().map(|one| one.request_id.clone()).collect()
        };
        assert_eq!(ids(&Wanted::default()), ["2"]);
        keep(&recent, "orders", 200, 3);
        keep(&recent, "auth", 404, 4);
        let one = |text: &str| Some(text.to_owned());
        assert_eq!(ids(&Wanted { service: one("orders"), ..Wanted::default() }).len(), 2);
        assert_eq!(ids(&Wanted { status: one("4xx"), ..Wanted::default() }), ["4"]);
        assert_eq!(ids(&Wanted { status: one("500"), ..Wanted::default() }), ["2"]);
        assert_eq!(ids(&Wanted { user: one("ada"), ..Wanted::default() }), ["4"]);
        assert_eq!(ids(&Wanted { id: one("3"), ..Wanted::default() }), ["3"]);
        assert_eq!(ids(&Wanted { revision: one("01234567"), ..Wanted::default() }).len(), 3);
        assert_eq!(ids(&Wanted { revision: one("ffff"), ..Wanted::default() }).len(), 0);
        recent.retain(|service| service == "auth");
        assert_eq!(ids(&Wanted::default()), ["4"]);
    }

    #[test]
    fn requests_and_their_texts_are_bounded() {
        let recent = Recent::default();
        (0..2 * REQUESTS).for_each(|id| keep(&recent, "orders", 500, id));
        let kept = recent.look(&Wanted::default(), usize::MAX);
        assert_eq!(kept.len(), REQUESTS);
        assert!(kept.iter().all(|one| one.cause.as_ref().unwrap().chars().count() == TEXT + 1));
    }
}
