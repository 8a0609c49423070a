//! `comptoir reload` and SIGHUP, on a host in its own process.

use std::path::Path;
use std::process::Output;

use rustix::process::Signal;
use testing::process::{Process, run};
use testing::{Client, component};

use super::PATIENCE;

/// A service that answers every caller with the request's method and path.
fn service(name: &str) -> String {
    let component = component("guest_plain_p2");
    format!("[services.{name}]\ncomponent = {component:?}\nmounts = [\"/{name}\"]\naccess = \"public\"\n")
}

/// Replaces a part of the manifest.
fn write(folder: &Path, from: &str, to: &str) {
    let file = folder.join("comptoir.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "the manifest lacks {from}");
    std::fs::write(file, text.replacen(from, to, 1)).unwrap();
}

async fn reload(process: &Process, folder: &Path, more: &[&str]) -> Output {
    let (admin, data) = (process.admin().to_string(), folder.join("data"));
    run(&[&["reload", "--admin", &admin, "--data", data.to_str().unwrap()], more].concat()).await
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn status(process: &Process, path: &str) -> u16 {
    Client::new(&format!("http://{}", process.gateway)).get(path).await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_what_a_reload_changes_or_would_change() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::serve(folder.path(), &service("one")).await;
    write(folder.path(), &service("one"), &(service("one").replace("public", "user") + &service("two")));
    let checked = reload(&process, folder.path(), &["--check"]).await;
    let said = text(&checked.stdout);
    assert!(checked.status.success() && said.starts_with("valid: a reload would change this:\n"), "{said}");
    assert_eq!((status(&process, "/one").await, status(&process, "/two").await), (200, 404));
    let reloaded = reload(&process, folder.path(), &[]).await;
    let said = text(&reloaded.stdout);
    assert!(reloaded.status.success(), "{said} {}", text(&reloaded.stderr));
    for line in [
        "reloaded:\n",
        "  added    two\n",
        "  changed  one: access\n",
        "  active   two: - -> ",
        "  listens  gateway  http://",
    ] {
        assert!(said.contains(line), "the output lacks `{line}`: {said}");
    }
    assert_eq!((status(&process, "/one").await, status(&process, "/two").await), (401, 200));
    // The addresses that options or the system chose stay.
    assert!(said.contains(&process.gateway.to_string()), "{said}");

    write(folder.path(), "instances = 100", "instances = 101");
    let refused = reload(&process, folder.path(), &[]).await;
    let said = text(&refused.stderr);
    assert!(!refused.status.success(), "{said}");
    let lines = "comptoir.toml:1: instances cannot change while the host serves: restart to change it, or restore its value\n  |\n1 | instances = 101\n";
    assert!(said.contains(lines), "{said}");
    // An interrupted edit is refused with its line, like at a start.
    write(folder.path(), "instances = 101", "instances = ");
    let said = text(&reload(&process, folder.path(), &[]).await.stderr);
    assert!(said.contains("comptoir.toml:1: "), "{said}");
    assert_eq!(status(&process, "/two").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reloads_the_manifest_and_the_audit_log_says_so() {
    let status_of_tests = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status_of_tests.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    // Under `nohup` the program ignores SIGHUP, like its parent.
    if u64::from_str_radix(mask.trim(), 16).unwrap() & 1 == 1 {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let process = Process::serve(folder.path(), &service("one")).await;
    write(folder.path(), &service("one"), &(service("one") + &service("two")));
    process.signal(Signal::HUP);
    let log = folder.path().join("data/audit.jsonl");
    let reloaded = async {
        while !std::fs::read_to_string(&log).unwrap_or_default().contains("SIGHUP") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reloaded).await.expect("the reload is audited");
    assert!(std::fs::read_to_string(&log).unwrap().contains("applied"));
    assert_eq!((status(&process, "/one").await, status(&process, "/two").await), (200, 200));
}
