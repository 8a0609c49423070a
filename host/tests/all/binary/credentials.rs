//! A credential that a component gets is in no log and in no file.

use std::sync::Arc;

use rustix::process::Signal;

use super::{Program, serve};

#[tokio::test]
async fn a_passed_credential_is_in_no_log_and_no_file() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let services = "[services.plain]\ncomponent = \"guest_plain_p2.wasm\"\nmounts = [\"/plain\"]\naccess = \"public\"\n\
                    strip = true\ncredentials = \"pass\"\n";
    let mut command = serve(&folder, services);
    command.args(["--log", "debug"]);
    let mut program = Program::spawn(command, &folder).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.get(format!("{}/plain/headers", program.gateway)).header("x-request-id", "guarded-1");
    let answer = request.header("authorization", "Basic c2VjcmV0LTc=").send().await.unwrap();
    assert!(answer.text().await.unwrap().contains("authorization: Basic c2VjcmV0LTc="), "the guest got it");
    program.signal(Signal::TERM);
    let mut log = String::new();
    while let Some(line) = program.log.next_line().await.unwrap() {
        log.push_str(&line);
        log.push('\n');
    }
    let line = log.lines().find(|line| line.contains("guarded-1")).expect("the access log entry");
    assert!(line.contains("/plain/headers"), "the log has the path of the client: {line}");
    assert!(!log.contains("c2VjcmV0LTc=") && !log.contains("secret-7"), "{log}");
    let mut folders = vec![folder.path().join("data")];
    while let Some(next) = folders.pop() {
        for path in std::fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                assert!(!bytes.windows(12).any(|window| window == b"c2VjcmV0LTc="), "{}", path.display());
            }
        }
    }
}
