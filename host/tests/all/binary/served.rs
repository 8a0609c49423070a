//! What `wasmtime serve` promises to its programs, Comptoir promises to them too. The expectations are those of wasmtime's own tests of
//! `p2_api_proxy` and `p2_cli_serve_*`, unless a test says otherwise.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Program, get};

const SERVED: &str = r#"[services.served]
component = "guest_served_p2.wasm"
mounts = ["/served"]
access = "public"
grants = ["keyvalue"]
config = { hello = "from the manifest", FOO = "bar" }
"#;

/// The body of a 200. Otherwise the test fails with the line of the log.
async fn text(program: &mut Program, name: &str) -> String {
    let answer = get(&format!("{}/served/{name}", program.gateway), name).await;
    if answer.status() != 200 {
        panic!("{}", program.logged(name).await);
    }
    answer.text().await.unwrap()
}

#[tokio::test]
async fn a_proxy_sees_a_whole_request_no_files_and_headers_that_it_cannot_change() {
    let mut program = Program::serving(SERVED).await;
    assert_eq!(text(&mut program, "proxy").await, "hello, world!");
}

#[tokio::test]
async fn a_program_reads_a_variable_and_answers_without_a_body() {
    let program = Program::serving(SERVED).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for (name, value) in [("FOO", Some("bar")), ("PATH", None)] {
        let request = client.get(format!("{}/served/environment", program.gateway)).header("env", name);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{name}");
        assert_eq!(answer.headers().get("env").map(|value| value.to_str().unwrap()), value, "{name}");
        assert_eq!(answer.text().await.unwrap(), "", "{name}");
    }
}

#[tokio::test]
async fn what_a_program_prints_in_pieces_is_in_the_log_line_of_its_request() {
    let mut program = Program::serving(SERVED).await;
    assert_eq!(text(&mut program, "print").await, "");
    let line = program.logged("print").await;
    let printed = r"half a line to stdout\n\nafter an empty line\nhalf a line to stderr\n123";
    assert_eq!(line["guest_output"], printed, "{line}");
}

#[tokio::test]
async fn a_program_that_returns_without_an_answer_is_a_500_that_the_log_explains() {
    let mut program = Program::serving(SERVED).await;
    let answer = get(&format!("{}/served/return", program.gateway), "no-answer").await;
    assert_eq!(answer.status(), 500);
    let line = program.logged("no-answer").await;
    assert!(line["cause"].as_str().is_some_and(|cause| cause.contains("without an answer")), "{line}");
    assert_eq!(text(&mut program, "proxy").await, "hello, world!", "the next request finds a new instance");
}

#[tokio::test]
async fn a_program_sees_the_authority_that_its_client_asked_for() {
    let program = Program::serving(SERVED).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.get(format!("{}/served/authority", program.gateway)).header("host", "localhost");
    assert_eq!(request.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_program_uses_the_default_bucket_and_its_configuration() {
    let mut program = Program::serving(SERVED).await;
    assert_eq!(text(&mut program, "config").await, "from the manifest");
    for _ in 0..2 {
        assert_eq!(text(&mut program, "keyvalue").await, "world");
    }
}

/// `wasmtime serve` lets the program run on. Comptoir stops it, because nobody reads what it computes.
#[tokio::test]
async fn a_client_that_leaves_early_is_no_failure_of_the_program() {
    let mut program = Program::serving(SERVED).await;
    let mut client = TcpStream::connect(program.gateway.trim_start_matches("http://")).await.unwrap();
    client
        .write_all(b"GET /served/early-drop HTTP/1.1\r\nhost: localhost\r\nx-request-id: early\r\n\r\n")
        .await
        .unwrap();
    client.read_exact(&mut [0; 4096]).await.unwrap();
    drop(client);
    let line = program.logged("early").await;
    assert_eq!((&line["level"], &line["status"]), (&Value::from("INFO"), &Value::from(200)), "{line}");
    assert_eq!(text(&mut program, "proxy").await, "hello, world!");
}
