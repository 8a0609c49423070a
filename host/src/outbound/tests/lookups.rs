//! Lookups of names, which go on if their requests are given up.

use tokio::sync::Semaphore;

use super::lookup::LOOKUPS;
use super::*;

/// Finds no name until it may. Counts the lookups that run.
struct Slow {
    running: Arc<AtomicUsize>,
    may_end: Arc<Semaphore>,
}

impl Lookup for Slow {
    fn lookup(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.running.fetch_add(1, Ordering::SeqCst);
        let (running, may_end) = (self.running.clone(), self.may_end.clone());
        async move {
            let _ = may_end.acquire().await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(vec!["127.0.0.1".parse().unwrap()])
        }
        .boxed()
    }
}

fn slow() -> Arc<Slow> {
    Arc::new(Slow { running: Arc::default(), may_end: Arc::new(Semaphore::new(0)) })
}

#[tokio::test]
async fn lookups_of_abandoned_requests_keep_their_places_until_they_end() {
    let (server, lookup) = (Server::echo().await, slow());
    let wildcard = format!("http://*.mail.example:{}", server.port());
    let rules = OutboundRules { concurrency: 1000, ..rules(&[&wildcard], &[]) };
    let outbound = Outbound::open("orders".into(), rules, lookup.clone()).unwrap();
    for number in 0..3 * LOOKUPS {
        let url = format!("http://h{number}.mail.example:{}", server.port());
        let abandoned = tokio::time::timeout(Duration::ZERO, send(&outbound, &url)).await;
        assert!(abandoned.is_err());
    }
    // Each that may start has a task by now. The test ends only if all of these run.
    while lookup.running.load(Ordering::SeqCst) < LOOKUPS {
        tokio::task::yield_now().await;
    }
    assert_eq!(lookup.running.load(Ordering::SeqCst), LOOKUPS, "no more than that");
    lookup.may_end.add_permits(1);
    while lookup.running.load(Ordering::SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn waiting_for_a_lookup_is_not_the_remotes_failure() {
    let (server, lookup) = (Server::echo().await, slow());
    let wildcard = format!("http://*.mail.example:{}", server.port());
    let rules = OutboundRules { concurrency: 2, timeout: SHORT, ..rules(&[&wildcard], &[]) };
    let outbound = Outbound::open("orders".into(), rules, lookup.clone()).unwrap();
    let url = |name: &str| format!("http://{name}.mail.example:{}", server.port());
    for name in ["a", "b"] {
        assert!(matches!(send(&outbound, &url(name)).await.err(), Some(OutboundError::TimedOut(SHORT))));
    }
    let crowded = send(&outbound, &url("c")).await.err().unwrap();
    assert!(matches!(crowded, OutboundError::Crowded) && !crowded.is_dependency_failure(), "{crowded:?}");
}
