//! A system that runs out of descriptors or disk space.

use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;
use tokio::net::TcpStream;

use super::Program;

impl Program {
    /// Sets a resource limit of the running program. Returns the previous limit.
    fn limit(&self, resource: Resource, current: u64) -> Rlimit {
        let limit = Rlimit { current: Some(current), maximum: getrlimit(resource).maximum };
        prlimit(Some(self.pid()), resource, limit).unwrap()
    }

    /// The status of `/readyz`, and its report about the disk.
    pub(super) async fn readiness(&self) -> (u16, Value) {
        let answer = reqwest::get(format!("{}/readyz", self.admin)).await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap()["disk"].clone())
    }

    pub(super) async fn notes(&self) -> (u16, Value) {
        self.answer(reqwest::Method::GET).await
    }

    pub(super) async fn add_note(&self) -> (u16, Value) {
        self.answer(reqwest::Method::POST).await
    }

    async fn answer(&self, method: reqwest::Method) -> (u16, Value) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.request(method, format!("{}/unruly/notes", self.gateway)).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

#[tokio::test]
async fn without_descriptors_the_host_serves_open_connections_and_recovers() {
    let mut program = Program::start().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/unruly/headers", program.gateway);
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
    let open = std::fs::read_dir(format!("/proc/{}/fd", program.pid().as_raw_pid())).unwrap().count();
    program.limit(Resource::Nofile, u64::try_from(open).unwrap() + 4);

    let address = program.gateway.strip_prefix("http://").unwrap().to_owned();
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(TcpStream::connect(&address).await.unwrap());
    }
    let is_refusal = |line: &Value| line["message"].to_string().contains("cannot accept a connection");
    program.until_logged(is_refusal).await;
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200, "the open connection is still served");
    program.until_logged(is_refusal).await;

    drop(held);
    let late = reqwest::Client::builder().no_proxy().build().unwrap();
    assert_eq!(late.get(&url).send().await.unwrap().status(), 200);
    assert_eq!(program.add_note().await.0, 200);
}

#[tokio::test]
async fn on_a_full_disk_writes_fail_with_503_until_there_is_space() {
    let program = Program::start().await;
    for _ in 0..3 {
        assert_eq!(program.add_note().await.0, 200);
    }
    assert_eq!(program.readiness().await, (200, "writable".into()));
    let before = program.limit(Resource::Fsize, 0);
    assert_eq!(program.readiness().await, (503, "not writable".into()));
    assert_eq!(
        reqwest::get(format!("{}/livez", program.admin)).await.unwrap().status(),
        200,
        "the host is still alive"
    );
    for _ in 0..3 {
        let (status, answer) = program.add_note().await;
        assert_eq!((status, &answer["error"]["code"]), (503, &"STORAGE_UNAVAILABLE".into()), "{answer}");
        assert_eq!(answer["success"], false);
        let (status, answer) = program.notes().await;
        assert_eq!((status, &answer["data"]["notes"]), (200, &3.into()), "{answer}");
    }
    prlimit(Some(program.pid()), Resource::Fsize, before).unwrap();
    assert_eq!(program.add_note().await.0, 200);
    assert_eq!(program.notes().await.1["data"]["notes"], 4);
    assert_eq!(program.readiness().await, (200, "writable".into()));
}
