//! Log lines that guests write through `wasi:logging`.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use serde_json::Value;

use super::{Program, get, serve};

const KITTED: &str = r#"[services.kitted]
component = "guest_kitted.wasm"
mounts = ["/kitted"]
public = ["/kitted"]
"#;

/// The lines of a request up to its line in the access log, which is the last one.
async fn lines_of(program: &mut Program, request_id: &str) -> (Vec<Value>, Value) {
    let mut lines = Vec::new();
    loop {
        let line = program.logged(request_id).await;
        if line["target"] != "guest" {
            return (lines, line);
        }
        lines.push(line);
    }
}

/// A program whose log shows these levels.
async fn showing(levels: &str, services: &str) -> Program {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let mut command = serve(&folder, services);
    command.args(["--log", levels]);
    Program::spawn(command, &folder).await
}

#[tokio::test]
async fn a_guests_log_lines_have_its_level_service_request_and_context() {
    let mut program = showing("info,guest=debug", KITTED).await;
    let answer = get(&format!("{}/kitted/log?text=order%0A7", program.gateway), "levels").await;
    assert_eq!(answer.headers()["x-comptoir-cache"], "bypass", "a cached answer would write no line");
    let (lines, request) = lines_of(&mut program, "levels").await;
    let expected = [("DEBUG", "debug"), ("INFO", "info"), ("WARN", "warn"), ("ERROR", "error")];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, (level, word)) in lines.iter().zip(expected) {
        assert_eq!(
            (&line["level"], &line["service"], &line["context"]),
            (&level.into(), &"kitted".into(), &"guest_kitted".into())
        );
        assert_eq!(line["message"], format!("kitted: {word} order\\n7"), "one line, whatever it contains");
    }
    assert_eq!((&request["status"], request.get("guest_output")), (&200.into(), None));
}

#[tokio::test]
async fn debug_lines_of_guests_are_hidden_by_default() {
    let mut program = Program::serving(KITTED).await;
    get(&format!("{}/kitted/log", program.gateway), "default").await;
    let (lines, _) = lines_of(&mut program, "default").await;
    let levels: Vec<_> = lines.iter().map(|line| line["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["INFO", "WARN", "ERROR"]);
}

#[tokio::test]
async fn a_guests_log_lines_have_a_limit_for_each_request() {
    let mut program = Program::serving(&format!("{KITTED}limits = {{ log = \"1 KiB\" }}\n")).await;
    for id in ["first", "second"] {
        get(&format!("{}/kitted/log?times=10000", program.gateway), id).await;
        let (lines, request) = lines_of(&mut program, id).await;
        assert!((10..16).contains(&lines.len()), "{}", lines.len());
        assert!(request["guest_output"].as_str().unwrap().ends_with(" more bytes"), "{request}");
    }
}

#[tokio::test]
async fn a_guests_log_lines_do_not_contain_secrets_that_it_sees() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("payment.key");
    std::fs::write(&key, "sk_live_51H8QyT0p4Zr\n").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let secrets = format!("[services.kitted.secrets]\npayment-key = {{ file = {key:?}, expose = true }}\n");
    let mut program = Program::serving(&format!("{KITTED}{secrets}")).await;
    get(&format!("{}/kitted/log?text=sk_live_51H8QyT0p4Zr", program.gateway), "secret").await;
    let (lines, _) = lines_of(&mut program, "secret").await;
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| !line.to_string().contains("sk_live")), "{lines:#?}");
}
