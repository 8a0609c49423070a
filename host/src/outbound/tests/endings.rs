//! How requests end, for the circuit breaker, the metrics and the watch of revisions.

use futures::stream;
use tokio::net::TcpSocket;
use tokio::sync::oneshot;

use super::*;

#[tokio::test]
async fn the_circuit_opens_after_failures_and_only_for_that_host() {
    // Bound, so that the server below cannot get the port, but not listening.
    let unheard = TcpSocket::new_v4().unwrap();
    unheard.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = unheard.local_addr().unwrap();
    let server = Server::echo().await;
    let good = format!("http://{}", server.address);
    let (outbound, bad) = limited(closed, |rules| rules.allow.push(good.parse().unwrap()));
    for _ in 0..5 {
        assert!(matches!(send(&outbound, &bad).await.err(), Some(OutboundError::Connect(_))));
    }
    assert!(matches!(send(&outbound, &bad).await.err(), Some(OutboundError::Open)));
    assert_eq!(send(&outbound, &good).await.unwrap().status(), 200);
    assert_eq!(
        [Ending::Unreachable, Ending::NotSent, Ending::Answered].map(|ending| count(&outbound, ending)),
        [5, 1, 1]
    );
    let open: Vec<_> =
        outbound.remotes().iter().filter(|remote| remote.is_open()).map(|remote| remote.name().to_owned()).collect();
    assert_eq!(open, [bad]);
}

#[tokio::test]
async fn answers_503_open_the_circuit_and_answers_500_do_not() {
    for (status, opens) in [(500, false), (503, true)] {
        let answer = move |_| async move { Response::builder().status(status).body(Full::default()).unwrap() };
        let server = Server::start(answer).await;
        let (outbound, origin) = limited(server.address, |_| {});
        for _ in 0..5 {
            assert_eq!(send(&outbound, &origin).await.unwrap().status(), status);
        }
        assert_eq!(matches!(send(&outbound, &origin).await.err(), Some(OutboundError::Open)), opens, "{status}");
    }
}

/// A request that waits for its guest, its place or a time that the guest chose says nothing about the remote host.
async fn stays_closed<F>(origin: &str, outbound: &Outbound, send: impl Fn() -> F, expected: fn(&OutboundError) -> bool)
where
    F: Future<Output = Result<Response<ResponseBody>, OutboundError>>,
{
    for _ in 0..2 * breaker::FAILURES {
        let error = match send().await {
            Ok(response) => text(response).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(expected(&error) && !error.is_dependency_failure(), "{origin}: {error:?}");
    }
    assert!(outbound.remotes().iter().all(|remote| !remote.is_open()), "{origin}");
}

fn parts(parts: &[Result<&'static str, &'static str>]) -> impl Stream<Item = Result<Bytes, &'static str>> + use<> {
    stream::iter(parts.iter().map(|part| part.map(Bytes::from)).collect::<Vec<_>>())
}

#[tokio::test]
async fn a_request_body_streams_and_a_broken_one_is_not_the_remotes_failure() {
    let server = Server::echo().await;
    let (outbound, origin) = limited(server.address, |_| {});
    let sent = post(&outbound, &origin, parts(&[Ok("hello"), Ok(" world")])).await.unwrap();
    assert!(text(sent).await.unwrap().ends_with("transfer-encoding: chunked\nhello world"));
    let broken = || post(&outbound, &origin, parts(&[Ok("hello"), Err("given up")]));
    stays_closed(&origin, &outbound, broken, |error| matches!(error, OutboundError::Request(_))).await;
}

#[tokio::test]
async fn a_body_that_the_guest_breaks_off_over_http_2_is_not_the_remotes_failure() {
    let folder = tempfile::tempdir().unwrap();
    let (address, authority) = server::endless_http_2(folder.path()).await;
    let origin = format!("https://{address}");
    let rules = OutboundRules { authority: Some(authority), ..rules(&[&origin], &["127.0.0.0/8"]) };
    let outbound = outbound(rules, &Names::new(&[]));
    let broken = || {
        // The head of the answer arrives first, because the guest breaks off when it has seen it.
        let (seen, sees) = oneshot::channel();
        let last = stream::once(async { sees.await.map_or(Err("gone"), |()| Err("given up")) });
        let (outbound, origin) = (&outbound, &origin);
        async move {
            let response = post(outbound, origin, parts(&[Ok("hello")]).chain(last)).await;
            seen.send(()).unwrap();
            response
        }
    };
    stays_closed(&origin, &outbound, broken, |error| matches!(error, OutboundError::Request(_))).await;
}

#[tokio::test]
async fn a_slow_upload_is_not_the_remotes_failure_but_a_remote_that_reads_none_of_it_is() {
    let server = Server::echo().await;
    let (outbound, origin) = limited(server.address, |rules| rules.timeout = SHORT);
    let slow = || post(&outbound, &origin, parts(&[Ok("hello")]).chain(stream::pending()));
    stays_closed(&origin, &outbound, slow, |error| matches!(error, OutboundError::Request(_))).await;
    let deaf = raw(b"", false).await;
    let (outbound, origin) = limited(deaf, |rules| rules.timeout = SHORT);
    let large = stream::repeat(Ok(Bytes::from(vec![0; 1 << 20])));
    let error = post(&outbound, &origin, large).await.err().unwrap();
    assert!(matches!(error, OutboundError::TimedOut(SHORT)) && error.is_dependency_failure(), "{error:?}");
}

#[tokio::test]
async fn a_timeout_of_the_guest_is_not_the_remotes_failure() {
    let silent = raw(b"", false).await;
    let (outbound, origin) = limited(silent, |_| {});
    let timeouts = Timeouts { head: Some(SHORT), between_bytes: None };
    let impatient = || outbound.send(get(&origin), timeouts, None);
    stays_closed(&origin, &outbound, impatient, |error| matches!(error, OutboundError::GaveUp(SHORT))).await;
    let stops = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello", false).await;
    let (outbound, origin) = limited(stops, |_| {});
    let timeouts = Timeouts { head: None, between_bytes: Some(SHORT) };
    let impatient = || outbound.send(get(&origin), timeouts, None);
    stays_closed(&origin, &outbound, impatient, |error| matches!(error, OutboundError::GaveUp(SHORT))).await;
}

#[tokio::test]
async fn waiting_for_a_place_is_not_the_remotes_failure() {
    let server = Server::echo().await;
    let (mut outbound, origin) = limited(server.address, |rules| rules.concurrency = 1);
    let _first = send(&outbound, &origin).await.unwrap();
    outbound.rules.timeout = SHORT;
    let crowded = || send(&outbound, &origin);
    stays_closed(&origin, &outbound, crowded, |error| matches!(error, OutboundError::Crowded)).await;
}

#[tokio::test]
async fn answers_that_break_off_in_their_bodies_open_the_circuit_and_are_counted() {
    let address = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello", true).await;
    let (outbound, origin) = limited(address, |_| {});
    for _ in 0..breaker::FAILURES {
        let response = send(&outbound, &origin).await.unwrap();
        assert!(matches!(text(response).await, Err(OutboundError::Broken(_))));
    }
    assert!(matches!(send(&outbound, &origin).await.err(), Some(OutboundError::Open)));
    assert_eq!([Ending::Answered, Ending::Broken].map(|ending| count(&outbound, ending)), [5, 5]);
}

#[tokio::test]
async fn the_head_of_the_trials_answer_closes_the_circuit() {
    let answer = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello", false).await;
    let (mut outbound, origin) = limited(answer, |_| {});
    outbound.remotes = Remotes::new(Duration::ZERO);
    let target = Target::of(&origin.parse().unwrap()).unwrap();
    let remote = SharedRemote(outbound.remotes.get(&target));
    for _ in 0..breaker::FAILURES {
        Breaker::pass(remote.clone(), Instant::now()).unwrap().failed(Instant::now());
    }
    assert!(remote.0.is_open());
    let trial = send(&outbound, &origin).await.unwrap();
    assert!(!remote.0.is_open(), "others need not wait for the end of this body");
    assert!(send(&outbound, &origin).await.is_ok());
    drop(trial);
    assert!(!remote.0.is_open());
}
