//! The services in other languages: `just examples` builds them, and the manifest in `components/examples` serves them unchanged.
//!
//! They are ignored unless asked for, because their toolchains come from npm and PyPI: `just test-examples`.

mod todo;

use std::path::Path;
use std::time::{Duration, Instant};

use comptoir::manifest::Manifest;
use futures::future::join_all;
use reqwest::Method;
use testing::{AMPLE, Shop, send};

/// Each service with its language.
const EXAMPLES: [(&str, &str); 6] = [
    ("javascript", "JavaScript"),
    ("javascript-wasi", "JavaScript, reused"),
    ("python-p2", "Python"),
    ("python-p3", "Python"),
    ("c", "C"),
    ("cpp", "C++"),
];

/// The manifest of the examples, on ports that the system picks, with ample time.
fn manifest() -> Manifest {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../components/examples/comptoir.toml");
    let mut manifest = Manifest::read(&file).unwrap();
    let any_port = ([127, 0, 0, 1], 0).into();
    (manifest.listeners.gateway, manifest.listeners.admin, manifest.instances) = (any_port, any_port, 100);
    (manifest.deploy.compile_time, manifest.deploy.probe_time) = (AMPLE * 10, AMPLE);
    for service in manifest.services.values_mut() {
        let limits = &mut service.limits;
        (limits.time, limits.cpu, limits.queue_time) = (AMPLE, AMPLE, AMPLE);
    }
    manifest
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `just examples`"]
async fn services_in_other_languages_answer_with_json_a_body_and_an_error() {
    let shop = Shop::with(manifest()).await;
    let anon = shop.anon();
    for (service, language) in EXAMPLES {
        let answer = anon.get(&format!("/{service}/json?name=Ada")).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"), "{service}");
        let json: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
        let language = language.trim_end_matches(", reused");
        assert_eq!(json, serde_json::json!({ "language": language, "name": "Ada" }), "{service}");

        let body = "a body of many lines\n".repeat(10_000);
        let echo = anon.request(Method::POST, &format!("/{service}/echo"));
        let answer = send(echo.header("content-type", "text/x-example").body(body.clone())).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "text/x-example"), "{service}");
        assert!(answer.text == body, "{service}: {} of {} bytes", answer.text.len(), body.len());

        assert_eq!(anon.get(&format!("/{service}/elsewhere")).await.status, 404, "{service}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `just examples`"]
async fn an_error_of_the_language_reaches_the_client_and_no_other_request() {
    let shop = Shop::with(manifest()).await;
    let anon = shop.anon();
    for service in ["javascript", "javascript-wasi", "python-p2", "python-p3"] {
        let (error, good) = (format!("/{service}/error"), format!("/{service}/json"));
        let (error, good) = tokio::join!(anon.request(Method::GET, &error).send(), anon.get(&good));
        // If the head of the response has already left, the host closes the connection instead.
        assert!(error.map_or(true, |answer| answer.status() == 500), "{service}");
        assert_eq!(good.status, 200, "{service}");
    }
    // This one catches its exception, after it has passed two destructors.
    let caught = anon.get("/cpp/error").await;
    assert_eq!((caught.status.as_u16(), &*caught.text), (422, "caught: an error on purpose, 2 destructors\n"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `just examples`"]
async fn many_requests_at_once_are_all_answered() {
    let shop = Shop::with(manifest()).await;
    let anon = shop.anon();
    for (service, _) in EXAMPLES {
        let path = format!("/{service}/json?name=Ada");
        let answers = join_all((0..60).map(|_| anon.get(&path))).await;
        assert!(answers.iter().all(|answer| answer.status == 200), "{service}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `just examples`"]
async fn an_instance_in_javascript_answers_many_requests() {
    let shop = Shop::with(manifest()).await;
    let anon = shop.anon();
    let (mut instances, mut last) = (0, 0);
    // Its runtime leaves handles and garbage to its collector. An instance that has grown too much is not reused.
    for _ in 0..100 {
        let text = anon.get("/javascript-wasi").await.text;
        let request: u32 = text.trim().rsplit(' ').next().unwrap().parse().unwrap();
        assert!(request == 1 || request == last + 1, "{request} after {last}");
        instances += u32::from(request == 1);
        last = request;
    }
    assert!(instances <= 10, "100 requests took {instances} instances");
}

/// The smallest power of two that suffices as `memory`, for each example. Prints a table for the README.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `just examples`, and prints measurements"]
async fn what_each_language_costs() {
    let mut memory = [None; EXAMPLES.len()];
    let mut times = [Duration::MAX; EXAMPLES.len()];
    for mib in [1, 2, 4, 8, 16, 32, 64, 128] {
        let mut manifest = manifest();
        manifest.services.values_mut().for_each(|service| service.limits.memory_bytes = mib << 20);
        let shop = Shop::with(manifest).await;
        let anon = shop.anon();
        for (at, (service, _)) in EXAMPLES.iter().enumerate() {
            let path = format!("/{service}/json?name=Ada");
            for _ in 0..20 {
                let began = Instant::now();
                if anon.get(&path).await.status == 200 {
                    memory[at] = memory[at].or(Some(mib));
                    times[at] = times[at].min(began.elapsed());
                }
            }
        }
    }
    let components = manifest();
    for (at, (service, language)) in EXAMPLES.iter().enumerate() {
        let size = std::fs::metadata(&components.services[*service].component).unwrap().len();
        let (kib, memory, time) = (size / 1024, memory[at].unwrap(), times[at]);
        println!("| {language} ({service}) | {kib} KiB | {memory} MiB | {time:.1?} |");
    }
}
