//! A log that nobody reads blocks neither requests nor the end of the program.

use futures::StreamExt as _;
use rustix::process::Signal;

use super::Program;

/// Requests whose log lines exceed the pipe and the log's queue.
const REQUESTS: usize = 6000;

/// Sends requests while nobody reads the log. All must be answered.
async fn flood(program: &Program) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/nowhere", program.gateway);
    let answers = futures::stream::iter(0..REQUESTS).map(|_| client.get(&url).send()).buffer_unordered(32);
    let answered =
        answers.filter(|answer| std::future::ready(answer.as_ref().is_ok_and(|answer| answer.status() == 404)));
    assert_eq!(answered.count().await, REQUESTS);
}

async fn dropped_lines(program: &Program) -> u64 {
    let page = reqwest::get(format!("{}/metrics", program.admin)).await.unwrap().text().await.unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix("comptoir_log_dropped_lines_total ")).unwrap();
    line.parse().unwrap()
}

#[tokio::test]
async fn an_unread_log_blocks_neither_requests_nor_the_end() {
    let mut program = Program::start().await;
    assert_eq!(dropped_lines(&program).await, 0);
    flood(&program).await;
    assert!(dropped_lines(&program).await > 0, "the queue was not full: send more requests");
    program.signal(Signal::TERM);
    let exit = program.process.wait().await.unwrap();
    assert!(exit.success(), "{exit}");
}

#[tokio::test]
async fn the_log_reports_the_number_of_dropped_lines() {
    let mut program = Program::start().await;
    flood(&program).await;
    let line = program.until_logged(|line| line["message"].to_string().contains("the log dropped")).await;
    assert_eq!(line["level"], "WARN", "{line}");
    assert!(line["lines"].as_u64().unwrap() > 0, "{line}");
}
