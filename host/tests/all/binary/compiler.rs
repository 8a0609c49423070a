//! The limits and the priority of the compiler's process.

use std::process::Stdio;
use std::time::Duration;

use testing::built::program;
use tokio::process::Command;

/// The niceness of a compiler with this argument, once it has set its limits, and the lines of `/proc/PID/limits`.
async fn started(argument: Option<&str>) -> (i32, String) {
    let mut command = Command::new(program());
    command.args(["compile", "--memory", "4294967296", "--seconds", "60", "--wasi", "0.2"]).args(argument);
    // It waits for a component until this process closes the pipe.
    let process = command.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let id = process.id().unwrap();
    loop {
        let limits = std::fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
        let limits: Vec<String> =
            limits.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        // The last limit that it sets.
        if limits.iter().any(|line| line == "Max cpu time 60 61 seconds") {
            return (niceness(&id.to_string()), limits.join("\n"));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The 19th field of `/proc/PID/stat`. The second one is a name in parentheses (proc_pid_stat(5)).
fn niceness(process: &str) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().split(' ').nth(16).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_compiler_has_the_lowest_priority_unless_it_may_use_all_cores() {
    let own = niceness("self");
    assert_eq!((started(None).await.0, started(Some("--all-cores")).await.0), ((own + 19).min(19), own));
}

#[tokio::test]
async fn a_compiler_limits_its_cpu_time_and_memory_and_writes_no_core_dump() {
    for argument in [None, Some("--all-cores")] {
        let (_, limits) = started(argument).await;
        for line in ["Max core file size 0 0 bytes", "Max address space 4294967296 4294967296 bytes"] {
            assert!(limits.contains(line), "{limits}");
        }
    }
}
