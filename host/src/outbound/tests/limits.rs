//! Limits of number, time and size.

use super::clients::{HEAD_BYTES, IDLE_IN_SUM};
use super::places::WAITING_PER_PLACE;
use super::*;

#[tokio::test]
async fn a_response_that_announces_too_many_bytes_is_refused_at_once() {
    let address = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world", false).await;
    let (outbound, origin) = limited(address, |rules| rules.response_bytes = 10);
    assert!(matches!(send(&outbound, &origin).await.err(), Some(OutboundError::TooLarge(10))));
    assert_eq!((count(&outbound, Ending::Broken), outbound.running()), (1, 0));
    let (outbound, origin) = limited(address, |rules| rules.response_bytes = 11);
    assert_eq!(text(send(&outbound, &origin).await.unwrap()).await.unwrap(), "hello world");
}

#[tokio::test]
async fn the_size_of_a_response_is_counted_while_it_streams() {
    let address =
        raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", false)
            .await;
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
    let address = raw(Vec::leak(head.into_bytes()), false).await;
    let (outbound, origin) = limited(address, |_| {});
    assert!(matches!(send(&outbound, &origin).await.err(), Some(OutboundError::Broken(_))));
}

#[tokio::test]
async fn a_remote_that_does_not_answer_in_time_is_a_failure() {
    let silent = raw(b"", false).await;
    let (outbound, origin) = limited(silent, |rules| rules.timeout = SHORT);
    assert!(matches!(send(&outbound, &origin).await.err(), Some(OutboundError::TimedOut(SHORT))));
    assert_eq!((count(&outbound, Ending::TimedOut), outbound.running()), (1, 0));
}

#[tokio::test]
async fn a_guest_can_choose_shorter_timeouts() {
    let silent = raw(b"", false).await;
    let (outbound, origin) = limited(silent, |_| {});
    let timeouts = Timeouts { head: Some(SHORT), between_bytes: None };
    assert!(matches!(outbound.send(get(&origin), timeouts, None).await.err(), Some(OutboundError::GaveUp(SHORT))));
    let stops = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello", false).await;
    let (outbound, origin) = limited(stops, |_| {});
    let timeouts = Timeouts { head: None, between_bytes: Some(SHORT) };
    let mut body = outbound.send(get(&origin), timeouts, None).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hello");
    assert!(matches!(body.frame().await, Some(Err(OutboundError::GaveUp(SHORT)))));
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
async fn idle_connections_are_bounded_in_sum() {
    let server = Server::echo().await;
    let number = 3 * IDLE_IN_SUM;
    let hosts: Vec<String> = (0..number).map(|host| format!("h{host}.example")).collect();
    let loopback: &[&[&str]] = &[&["127.0.0.1"]];
    let names = Names::new(&hosts.iter().map(|host| (host.as_str(), loopback)).collect::<Vec<_>>());
    let origins: Vec<String> = hosts.iter().map(|host| format!("http://{host}:{}", server.port())).collect();
    let allow: Vec<&str> = origins.iter().map(String::as_str).collect();
    let rules = OutboundRules { concurrency: 1, ..rules(&allow, &["127.0.0.1/32"]) };
    let outbound = outbound(rules, &names);
    for origin in &origins {
        text(send(&outbound, origin).await.unwrap()).await.unwrap();
    }
    assert_eq!(server.connections(), number);
    let closed = async {
        while server.open() > 1 + IDLE_IN_SUM {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(AMPLE, closed).await.expect("the host closes idle connections");
}
