//! A client of HTTP/1.1 that sends and receives at the same time, chunk by chunk.

use std::io;
use std::net::SocketAddr;

use testing::AMPLE;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// One exchange on a connection of its own.
pub struct Exchange {
    pub request: Sender,
    pub response: Receiver,
}

/// The sending half: the body of the request.
pub struct Sender(OwnedWriteHalf);

/// The receiving half: the response.
pub struct Receiver {
    stream: BufReader<OwnedReadHalf>,
    /// The trailers, once the last chunk has come.
    pub trailers: String,
    /// Bytes of the body that came and were not asked for yet.
    left: Vec<u8>,
}

impl Exchange {
    /// Sends the head of a request. `fields` ends with a line break, or is empty.
    pub async fn open(address: SocketAddr, method: &str, path: &str, fields: &str) -> Self {
        let (read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nte: trailers\r\n{fields}\r\n");
        write.write_all(head.as_bytes()).await.unwrap();
        let response = Receiver { stream: BufReader::new(read), trailers: String::new(), left: Vec::new() };
        Self { request: Sender(write), response }
    }

    /// Sends the head of a POST whose body comes in chunks.
    pub async fn post(address: SocketAddr, path: &str) -> Self {
        Self::open(address, "POST", path, "transfer-encoding: chunked\r\n").await
    }

    /// Sends a chunk, and waits until it comes back.
    pub async fn bounce(&mut self, data: &[u8]) {
        self.request.send(data).await.unwrap();
        assert_eq!(self.response.read(data.len()).await.unwrap(), data);
    }

    /// Waits until the host cuts the response off.
    pub async fn is_cut(&mut self) {
        while let Ok(data) = self.response.read(1).await {
            assert!(!data.is_empty(), "the response is complete");
        }
    }
}

impl Sender {
    /// Sends a chunk.
    pub async fn send(&mut self, data: &[u8]) -> io::Result<()> {
        let chunk = [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat();
        self.0.write_all(&chunk).await
    }

    /// Ends the body. `trailers` ends with a line break, or is empty.
    pub async fn end(&mut self, trailers: &str) {
        self.0.write_all(format!("0\r\n{trailers}\r\n").as_bytes()).await.unwrap();
    }

    /// Sends bytes as they are.
    pub async fn raw(&mut self, data: &[u8]) {
        self.0.write_all(data).await.unwrap();
    }
}

impl Receiver {
    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        timeout(AMPLE, self.stream.read_line(&mut line)).await.expect("the host sends something")?;
        if line.ends_with('\n') { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The lines up to an empty one.
    async fn lines(&mut self) -> io::Result<String> {
        let mut lines = String::new();
        loop {
            let line = self.line().await?;
            if line == "\r\n" {
                return Ok(lines);
            }
            lines.push_str(&line);
        }
    }

    /// The head of the response.
    pub async fn head(&mut self) -> String {
        self.lines().await.expect("the head of a response")
    }

    /// This many bytes of the body, or fewer if it ends before.
    ///
    /// # Errors
    /// The connection ended before the body did.
    pub async fn read(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.left.len() < count {
            let length = usize::from_str_radix(self.line().await?.trim(), 16).map_err(io::Error::other)?;
            if length == 0 {
                self.trailers = self.lines().await?;
                break;
            }
            let start = self.left.len();
            self.left.resize(start + length, 0);
            let reading = self.stream.read_exact(&mut self.left[start..]);
            timeout(AMPLE, reading).await.expect("the host sends the rest of a chunk")?;
            self.line().await?;
        }
        let count = count.min(self.left.len());
        Ok(self.left.drain(..count).collect())
    }

    /// Everything up to the end of a body that is not chunked.
    pub async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // A reset after the response is fine.
        let _ = timeout(AMPLE, self.stream.read_to_end(&mut rest)).await.expect("the connection ends");
        String::from_utf8_lossy(&rest).into_owned()
    }
}
