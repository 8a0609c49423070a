//! A log that nobody reads: it stops neither requests nor the end of the program.

use futures::StreamExt as _;
use rustix::process::Signal;

use super::Program;

/// More than the pipe and the log's queue hold.
const REQUESTS: usize = 6000;

/// Has every request answered while nobody reads the log.
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
async fn while_nobody_reads_the_log_requests_are_answered_and_a_signal_ends_the_program() {
    let mut program = Program::start().await;
    assert_eq!(dropped_lines(&program).await, 0);
    flood(&program).await;
    assert!(dropped_lines(&program).await > 0, "the queue did not fill up: send more requests");
    program.signal(Signal::TERM);
    let exit = program.process.wait().await.unwrap();
    assert!(exit.success(), "{exit}");
}

#[tokio::test]
async fn the_log_says_how_many_lines_were_dropped_once_somebody_reads_it() {
    let mut program = Program::start().await;
    flood(&program).await;
    let line = program.until_logged(|line| line["message"].to_string().contains("the log dropped")).await;
    assert_eq!(line["level"], "WARN", "{line}");
    assert!(line["lines"].as_u64().unwrap() > 0, "{line}");
}
