#![allow(clippy::unwrap_used)]

use storage::read_set::{Commit, Version};

use super::*;

fn question(revision: u64, parts: &[&str]) -> Question {
    let mut question = Question::new(revision);
    parts.iter().for_each(|part| question.add(part.as_bytes()));
    question
}

fn head(status: StatusCode, headers: &[(HeaderName, &'static str)]) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response.headers_mut().extend(headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))));
    response
}

fn keep(answers: &Answers, question: Question, body: &'static str, read_set: ReadSet) -> bool {
    answers.remember(question, &head(StatusCode::OK, &[]), &Bytes::from(body), read_set, false).is_some()
}

#[test]
fn an_answer_is_given_again_while_what_it_rests_on_holds() {
    let (answers, version) = (Answers::new(1 << 20), Arc::new(Version::default()));
    assert!(keep(&answers, question(1, &["/a"]), "one", ReadSet::take([&version]).unwrap()));
    assert_eq!(answers.recall(&question(1, &["/a"])).unwrap().body, "one");
    drop(Commit::begin(vec![version.clone()]));
    assert!(answers.recall(&question(1, &["/a"])).is_none());
    assert!(keep(&answers, question(1, &["/a"]), "two", ReadSet::take([&version]).unwrap()));
    assert_eq!(answers.recall(&question(1, &["/a"])).unwrap().body, "two");
    answers.forget();
    assert!(answers.recall(&question(1, &["/a"])).is_none());
    assert_eq!(answers.bytes(), 0);
}

#[test]
fn a_question_that_differs_in_anything_has_another_answer() {
    let answers = Answers::new(1 << 20);
    assert!(keep(&answers, question(1, &["/a", "b"]), "one", ReadSet::default()));
    let others: [(u64, &[&str]); 6] =
        [(2, &["/a", "b"]), (1, &["/ab"]), (1, &["/a"]), (1, &["/", "ab"]), (1, &["/a", "b", ""]), (1, &["b", "/a"])];
    for (revision, parts) in others {
        assert!(answers.recall(&question(revision, parts)).is_none(), "{revision} {parts:?}");
    }
}

#[test]
fn what_forbids_it_is_not_kept() {
    let answers = Answers::new(1 << 20);
    let heads = [
        head(StatusCode::NOT_FOUND, &[]),
        head(StatusCode::CREATED, &[]),
        head(StatusCode::OK, &[(SET_COOKIE, "a=b")]),
        head(StatusCode::OK, &[(CACHE_CONTROL, "private, No-Store")]),
    ];
    for head in heads {
        let kept = answers.remember(question(1, &[]), &head, &Bytes::new(), ReadSet::default(), false);
        assert!(kept.is_none(), "{head:?}");
    }
    assert_eq!(answers.counts.bypasses.load(Ordering::Relaxed), 4);
}

#[test]
fn many_answers_stay_within_their_share_and_a_large_one_is_not_kept() {
    let answers = Answers::new(256 << 10);
    let body = Bytes::from(vec![b'x'; 4 << 10]);
    let kept = |number: u64, body: &Bytes| {
        let question = question(number, &[]);
        answers.remember(question, &head(StatusCode::OK, &[]), body, ReadSet::default(), false).is_some()
    };
    assert!((0..1_000).all(|number| kept(number, &body)));
    assert!(answers.bytes() <= 256 << 10 && answers.bytes() > 128 << 10, "{}", answers.bytes());
    assert!(!kept(0, &Bytes::from(vec![b'x'; 65 << 10])));
}

#[test]
fn a_client_that_has_the_answer_is_told_so_with_what_its_cache_needs() {
    let answers = Answers::new(1 << 20);
    let headers = [(VARY, "accept"), (hyper::header::CONTENT_TYPE, "text/plain")];
    let body = Bytes::from("hello");
    let whole = head(StatusCode::OK, &headers);
    let kept = answers.remember(question(1, &[]), &whole, &body, ReadSet::default(), false).unwrap();
    let response = kept.response(Some(&HeaderValue::from_static("\"other\"")));
    assert_eq!((response.status(), &response.headers()[CONTENT_LENGTH]), (StatusCode::OK, &HeaderValue::from(5)));
    let response = kept.response(Some(&response.headers()[ETAG]));
    let mut names: Vec<&str> = response.headers().keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!((response.status(), names), (StatusCode::NOT_MODIFIED, vec!["cache-control", "etag", "vary"]));
}

#[test]
fn what_is_personal_is_kept_by_no_other_cache_on_our_word() {
    let answers = Answers::new(1 << 20);
    let plain = head(StatusCode::OK, &[]);
    let kept =
        |personal| answers.remember(question(1, &[]), &plain, &Bytes::new(), ReadSet::default(), personal).unwrap();
    assert_eq!(kept(false).response(None).headers()[CACHE_CONTROL], "no-cache");
    assert!(!kept(true).response(None).headers().contains_key(CACHE_CONTROL), "the gateway says no-store");
}
