//! How a request becomes a question to the memory of answers, and an answer an entry of it.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::{Method, Response};
use storage::read_set::ReadSet;

use crate::answers::{Answers, CACHE, Question, Remembered};
use crate::body::Body;
use crate::gate::Admitted;
use crate::head::USER_ID;

/// An answer's whole body, and what the answer rests on, if that is known.
pub(super) type Whole = (Bytes, Option<ReadSet>);

/// The share of one revision in the answers of its service.
pub(super) struct Memory {
    answers: Arc<Answers>,
    number: u64,
}

/// A request, on its way to an answer.
pub(super) struct Asked<'m> {
    /// Whether its method is one that only reads.
    reads: bool,
    /// What its answer is remembered under, if it may be.
    question: Option<(&'m Answers, Question)>,
    unless: Option<HeaderValue>,
    /// Whether the guest is told who asks.
    personal: bool,
}

impl Memory {
    /// For a revision of the service that these answers are of.
    pub(super) fn new(answers: Arc<Answers>) -> Self {
        Self { number: answers.number(), answers }
    }

    pub(super) fn answers(&self) -> &Answers {
        &self.answers
    }

    /// All that the guest is given, where that is little enough: the route says which headers it reads, and there is no body.
    fn question(&self, admitted: &Admitted) -> Option<Question> {
        if admitted.route().headers.is_none() || !admitted.body().bytes.is_empty() {
            return None;
        }
        let head = admitted.head();
        let mut question = Question::new(self.number);
        question.add(&[u8::from(admitted.is_secure())]);
        question.add(head.uri.path_and_query()?.as_str().as_bytes());
        for (name, value) in &head.headers {
            question.add(name.as_str().as_bytes());
            question.add(value.as_bytes());
        }
        Some(question)
    }
}

impl<'m> Asked<'m> {
    /// What a request asks, of a revision that has a memory or none.
    pub(super) fn new(memory: Option<&'m Memory>, admitted: &Admitted) -> Self {
        // A guest is never told that it was HEAD.
        let reads = matches!(admitted.head().method, Method::GET | Method::HEAD);
        let memory = memory.filter(|_| reads);
        let question = memory.and_then(|memory| Some((&*memory.answers, memory.question(admitted)?)));
        Self {
            reads,
            question,
            unless: admitted.if_none_match().cloned(),
            personal: admitted.head().headers.contains_key(USER_ID),
        }
    }

    /// The answer that is remembered, if there is one.
    pub(super) fn recall(&self) -> Option<Response<Body>> {
        let (answers, question) = self.question.as_ref()?;
        let mut response = answers.recall(question)?.response(self.unless.as_ref());
        response.headers_mut().insert(CACHE, HeaderValue::from_static("hit"));
        Some(response)
    }

    /// Remembers an answer that the guest gave, if it is one to remember, and says so in it. One that is not has a tag all the
    /// same, so that a client which has this content need not get it again.
    pub(super) fn settle(self, response: &mut Response<Body>, whole: Option<Whole>) {
        let kept = match (self.question, whole) {
            (Some((answers, question)), Some((body, Some(read_set)))) => {
                answers.remember(question, response, &body, read_set, self.personal)
            }
            (Some((answers, _)), whole) => {
                answers.pass_by();
                if let Some(named) = whole.and_then(|(body, _)| Remembered::once(response, &body, self.personal)) {
                    *response = named.response(self.unless.as_ref());
                }
                None
            }
            (None, _) => None,
        };
        if let Some(kept) = &kept {
            *response = kept.response(self.unless.as_ref());
        }
        response.headers_mut().remove(CACHE);
        if self.reads {
            let word = if kept.is_some() { "miss" } else { "bypass" };
            response.headers_mut().insert(CACHE, HeaderValue::from_static(word));
        }
    }
}
