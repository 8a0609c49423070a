//! The limits and ignored signals that the program inherits.

use std::process::Stdio;
use std::sync::Arc;

use tokio::process::Command;

use super::{Program, UNRULY, ignores_hang_up, serve};

/// The program, started from a shell after these commands.
async fn started_after(commands: &str) -> Program {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let serving = serve(&folder, UNRULY);
    Program::spawn(after(commands, &serving), &folder).await
}

fn after(commands: &str, serving: &Command) -> Command {
    let serving = serving.as_std();
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{commands}; exec \"$0\" \"$@\"")])
        .arg(serving.get_program())
        .args(serving.get_args());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

#[tokio::test]
async fn the_soft_limit_of_descriptors_is_raised_to_the_hard_one() {
    let program = started_after("ulimit -Sn 256").await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", program.process.id().unwrap())).unwrap();
    let limits = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let limits: Vec<&str> = limits.split_whitespace().collect();
    assert_eq!(limits[0], limits[1]);
    assert_ne!(limits[0], "256");
}

#[tokio::test]
async fn too_low_a_limit_of_descriptors_is_reported_with_numbers() {
    let mut program = started_after("ulimit -n 600").await;
    let line = program.until_logged(|line| line["message"].to_string().contains("open file descriptors")).await;
    assert_eq!((&line["level"], &line["limit"], &line["needed"]), (&"WARN".into(), &600.into(), &16_896.into()));
    let message = line["message"].as_str().unwrap();
    assert!(
        message.contains("600 open file descriptors are too few for 16384 `connections` in the manifest"),
        "{message}"
    );
    assert!(message.contains("raise the hard limit to 16896") && message.ends_with("[listeners] to 88"), "{message}");
}

#[tokio::test]
async fn a_program_started_with_sighup_ignored_keeps_ignoring_it() {
    let ignores = |program: &Program| ignores_hang_up(&program.process.id().unwrap().to_string());
    assert!(ignores(&started_after("trap '' HUP").await));
    assert_eq!(ignores(&started_after("true").await), ignores_hang_up("self"));
}
