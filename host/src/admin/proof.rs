//! `GET /proof`: the host proves that it knows the admin token, before a client sends it.
//!
//! A client finds the host's address in a file, and another program may have the port by now. That program cannot give this proof.

use hyper::{Method, Request, Response};
use serde_json::json;

use super::Admin;
use super::envelope::{allow, query, success};
use crate::body::{Arriving, Body};
use crate::error::Error;

/// The length of a nonce in hexadecimal digits.
const NONCE_DIGITS: usize = 64;

impl Admin {
    pub(super) fn proof(&self, request: &Request<Arriving>) -> Result<Response<Body>, Error> {
        allow(request, &[Method::GET])?;
        let query = query(request, &["nonce"])?;
        let is_nonce = |text: &&String| text.len() == NONCE_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let nonce = query.get("nonce").filter(is_nonce);
        let nonce = nonce.ok_or(Error::BadRequest("nonce has 64 hexadecimal digits, chosen at random"))?;
        let address = self.listening.load().address;
        Ok(success(&json!({ "data": { "address": address, "proof": self.gate.prove(nonce, address) } })))
    }
}
