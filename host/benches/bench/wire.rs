//! HTTP/1.1 for the load generator: requests are prepared bytes, and answers are parsed only to find their end.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};

/// The timeout of a request outside of a measurement.
const PATIENCE: Duration = Duration::from_secs(30);

/// The bytes of a request, which can be sent many times.
#[derive(Clone)]
pub struct Request(pub Vec<u8>);

impl Request {
    /// A `GET`, with a token if there is one.
    pub fn get(path: &str, token: Option<&str>) -> Self {
        Self::new("GET", path, token, "")
    }

    /// A `POST` of JSON.
    pub fn post(path: &str, token: Option<&str>, json: &str) -> Self {
        Self::new("POST", path, token, json)
    }

    fn new(method: &str, path: &str, token: Option<&str>, json: &str) -> Self {
        let token = token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
        let body = match json.len() {
            0 => String::new(),
            length => format!("content-type: application/json\r\ncontent-length: {length}\r\n"),
        };
        Self(format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{token}{body}\r\n{json}").into_bytes())
    }
}

/// The parsed head of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// The HTTP status.
    pub status: u16,
    /// Bytes before the body.
    pub length: usize,
    /// Whether the server keeps the connection open (RFC 9112, section 9.3).
    pub keeps: bool,
    /// Bytes of the body. None if it is chunked.
    body: Option<usize>,
}

impl Head {
    /// Parses the head. None if it is not complete.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let length = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
        let status = bytes.get(9..12).and_then(|status| std::str::from_utf8(status).ok()?.parse().ok())?;
        let (mut body, mut keeps) = (Some(0), !bytes.starts_with(b"HTTP/1.0"));
        for line in bytes[..length].split(|byte| *byte == b'\n') {
            if let Some(value) = value(line, b"content-length:") {
                body = std::str::from_utf8(value).ok().and_then(|value| value.trim().parse().ok());
            } else if value(line, b"transfer-encoding:").is_some() {
                body = None;
            } else if let Some(value) = value(line, b"connection:") {
                let says = |option: &[u8]| value.trim_ascii().eq_ignore_ascii_case(option);
                keeps = (keeps && !says(b"close")) || says(b"keep-alive");
            }
        }
        Some(Self { status, length, keeps, body })
    }

    /// Whether these bytes, which begin with the head, are the whole answer. No body in the bench contains the text of a last
    /// chunk.
    pub fn is_whole(&self, bytes: &[u8]) -> bool {
        match self.body {
            Some(body) => bytes.len() >= self.length + body,
            None => bytes.len() > self.length && bytes.ends_with(b"0\r\n\r\n"),
        }
    }
}

fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then_some(value)
}

/// Sends a request on a new connection and returns status and body. A chunked body keeps its framing.
pub fn ask(server: SocketAddr, request: &Request) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect(server).with_context(|| format!("cannot connect to {server}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&request.0)?;
    let mut answer = Vec::new();
    let mut part = [0; 16 << 10];
    loop {
        match Head::read(&answer) {
            Some(head) if head.is_whole(&answer) => {
                return Ok((head.status, String::from_utf8_lossy(&answer[head.length..]).into_owned()));
            }
            _ => {}
        }
        match stream.read(&mut part).with_context(|| format!("{server} did not answer"))? {
            0 => bail!("{server} closed the connection before its answer was complete"),
            length => answer.extend_from_slice(&part[..length]),
        }
    }
}
