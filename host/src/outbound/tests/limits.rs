//! Limits of number, time and size, the circuit breaker, and what is counted.

use futures::StreamExt as _;
use futures::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::*;

/// A timeout for requests that have no answer.
const SHORT: Duration = Duration::from_millis(50);

/// A server that writes bytes to each connection as soon as a request arrives, and then keeps the connection open.
async fn raw(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open: Vec<TcpStream> = Vec::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            let _ = connection.read(&mut [0; 4096]).await;
            let _ = connection.write_all(bytes).await;
            open.push(connection);
        }
    });
    address
}

/// A service that may send requests to this address, with these limits.
fn limited(address: SocketAddr, change: impl FnOnce(&mut OutboundRules)) -> (Outbound, String) {
    let origin = format!("http://{address}");
    let mut rules = rules(&[&origin], &["127.0.0.0/8"]);
    change(&mut rules);
    (outbound(rules, &Names::new(&[])), origin)
}

fn count(outbound: &Outbound, ending: Ending) -> u64 {
    outbound.remotes().iter().map(|remote| remote.count(ending)).sum()
}

#[tokio::test]
async fn a_response_that_announces_too_many_bytes_is_refused_at_once() {
    let address = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world").await;
    let (outbound, origin) = limited(address, |rules| rules.response_bytes = 10);
    assert!(matches!(send(&outbound, &origin).await.err(), Some(OutboundError::TooLarge(10))));
    assert_eq!((count(&outbound, Ending::Broken), outbound.running()), (1, 0));
    let (outbound, origin) = limited(address, |rules| rules.response_bytes = 11);
    assert_eq!(text(send(&outbound, &origin).await.unwrap()).await.unwrap(), "hello world");
}

#[tokio::test]
async fn the_size_of_a_response_is_counted_while_it_streams() {
    let address =
        raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n").await;
    let (outbound, origin) = limited(address, |rules| rules.response_bytes = 10);
    let mut body = send(&outbound, &origin).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hello");
    assert!(matches!(body.frame().await, Some(Err(OutboundError::TooLarge(10)))));
    assert!(body.frame().await.is_none());
    assert_eq!(outbound.running(), 0, "the place is free");
}

#[tokio::test]
async fn a_head_larger_than_the_limit_is_refused() {
    let head = format!("HTTP/1.1 200 OK\r\nx-large: {}\r\n\r\n", "x".repeat(2 * HEAD_BYTES));
    let address = raw(Vec::leak(head.into_bytes())).await;
    let (outbound, origin) = limited(address, |_| {});
    assert!(matches!(send(&outbound, &origin).await.err(), Some(OutboundError::Broken(_))));
}

#[tokio::test]
async fn a_remote_that_does_not_answer_in_time_is_a_failure() {
    let silent = raw(b"").await;
    let (outbound, origin) = limited(silent, |rules| rules.timeout = SHORT);
    assert!(matches!(send(&outbound, &origin).await.err(), Some(OutboundError::TimedOut(SHORT))));
    assert_eq!((count(&outbound, Ending::TimedOut), outbound.running()), (1, 0));
}

#[tokio::test]
async fn a_guest_can_choose_shorter_timeouts() {
    let silent = raw(b"").await;
    let (outbound, origin) = limited(silent, |_| {});
    let timeouts = Timeouts { head: Some(SHORT), between_bytes: None };
    assert!(matches!(outbound.send(get(&origin), timeouts, None).await.err(), Some(OutboundError::TimedOut(SHORT))));
    let stops = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello").await;
    let (outbound, origin) = limited(stops, |_| {});
    let timeouts = Timeouts { head: None, between_bytes: Some(SHORT) };
    let mut body = outbound.send(get(&origin), timeouts, None).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hello");
    assert!(matches!(body.frame().await, Some(Err(OutboundError::TimedOut(SHORT)))));
}

#[tokio::test]
async fn at_most_concurrency_requests_run_and_four_times_as_many_wait() {
    let server = Server::echo().await;
    let (outbound, origin) = limited(server.address, |rules| rules.concurrency = 1);
    let first = send(&outbound, &origin).await.unwrap();
    assert_eq!(outbound.running(), 1, "until its body has ended");
    let mut waiting: Vec<_> = (0..WAITING_PER_PLACE).map(|_| Box::pin(send(&outbound, &origin))).collect();
    for request in &mut waiting {
        assert!(request.now_or_never().is_none());
    }
    assert!(matches!(send(&outbound, &origin).await.err(), Some(OutboundError::Crowded)));
    assert_eq!(count(&outbound, Ending::NotSent), 1);
    drop(first);
    for request in waiting {
        text(request.await.unwrap()).await.unwrap();
    }
    assert_eq!(count(&outbound, Ending::Answered), 1 + WAITING_PER_PLACE as u64);
}

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

#[tokio::test]
async fn a_request_body_streams_and_a_broken_one_is_not_the_remotes_failure() {
    let server = Server::echo().await;
    let (outbound, origin) = limited(server.address, |_| {});
    let post = |parts: Vec<Result<&'static str, &'static str>>| {
        let parts = stream::iter(parts).map(|part| part.map(|part| Frame::data(Bytes::from(part))).map_err(Into::into));
        Request::post(&origin).body(StreamBody::new(parts).boxed_unsync()).unwrap()
    };
    let sent = outbound.send(post(vec![Ok("hello"), Ok(" world")]), Timeouts::default(), None).await.unwrap();
    assert!(text(sent).await.unwrap().ends_with("transfer-encoding: chunked\nhello world"));
    for _ in 0..6 {
        let broken = outbound.send(post(vec![Ok("hello"), Err("given up")]), Timeouts::default(), None).await.err();
        assert!(matches!(broken, Some(OutboundError::Request(_))), "{broken:?}");
    }
}
