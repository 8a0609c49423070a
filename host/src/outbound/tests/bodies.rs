//! Bodies of requests whose length nobody announces.

use futures::stream;

use super::*;

/// Sends a GET request with this body. Returns what arrived.
async fn arrived(body: impl Stream<Item = Result<Bytes, &'static str>> + Send + 'static) -> String {
    let server = Server::echo().await;
    let (outbound, origin) = limited(server.address, |_| {});
    let frames = body.map(|part| part.map(Frame::data).map_err(Into::into));
    let request = Request::get(&origin).body(StreamBody::new(frames).boxed_unsync()).unwrap();
    text(outbound.send(request, Timeouts::default(), None).await.unwrap()).await.unwrap()
}

#[tokio::test]
async fn the_body_of_a_get_request_arrives() {
    let echoed = arrived(stream::iter(["hello", " world"].map(|part| Ok(Bytes::from(part))))).await;
    assert!(echoed.ends_with("\nhello world") && echoed.contains("transfer-encoding: chunked"), "{echoed}");
}

#[tokio::test]
async fn the_body_of_a_get_request_may_begin_late() {
    let late = stream::once(async {
        tokio::time::sleep(2 * upload::FIRST_PART_TIME).await;
        Ok(Bytes::from("hello"))
    });
    assert!(arrived(late).await.ends_with("\nhello"));
}

#[tokio::test]
async fn a_get_request_whose_body_ends_at_once_has_none() {
    let echoed = arrived(stream::empty()).await;
    assert!(!echoed.contains("transfer-encoding") && !echoed.contains("content-length"), "{echoed}");
}
