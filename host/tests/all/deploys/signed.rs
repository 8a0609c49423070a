//! Signed components: `signers` in the manifest.

use std::path::{Path, PathBuf};

use comptoir::manifest::Manifest;
use comptoir::signature::{Signature, SigningKey, beside};
use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;

use super::{Stand, digest, manifest_text, refuses, variant};
use comptoir::clock::Clock;
use comptoir::host::Host;
use testing::process::run;
use testing::{Answer, Shop, manifest_of, options, send};

const DAY: u64 = 24 * 3600;

/// A folder with keys and the manifest's component.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("variant.wasm"), variant("good")).unwrap();
        Self { folder }
    }

    fn component(&self) -> PathBuf {
        self.folder.path().join("variant.wasm")
    }

    fn key(&self, name: &str) -> SigningKey {
        let file = self.folder.path().join(name);
        SigningKey::read(&file).or_else(|_| SigningKey::create(&file)).unwrap()
    }

    /// A manifest that lists these keys as signers.
    fn manifest(&self, keys: &[&str]) -> Manifest {
        let keys: Vec<_> = keys.iter().map(|name| self.key(name).public().to_string()).collect();
        manifest_of(&manifest_text(&format!("signers = {keys:?}"), "", self.component().to_str().unwrap()))
    }

    /// Signs the current content of the manifest's component file.
    fn sign(&self, key: &str, version: u64) {
        let signature = self.signature(key, &std::fs::read(self.component()).unwrap(), version);
        std::fs::write(beside(&self.component()), signature.line()).unwrap();
    }

    fn signature(&self, key: &str, component: &[u8], version: u64) -> Signature {
        self.key(key).sign("variant", &digest(component), version, Clock::default().unix_seconds() + DAY)
    }

    /// A host with the signer `one`, which signed the component as version 5.
    async fn open(&self) -> Stand {
        self.sign("one", 5);
        Stand { shop: Shop::with(self.manifest(&["one"])).await }
    }

    /// The error with which a host refuses to start in an empty folder.
    async fn complaint(&self, keys: &[&str]) -> String {
        let data = tempfile::tempdir().unwrap();
        let started = Host::start(self.manifest(keys), data.path(), options(&Clock::default())).await;
        started.err().expect("the host does not start").to_string()
    }
}

impl Stand {
    async fn send_signed(&self, component: Vec<u8>, line: &str) -> Answer {
        let request = self.shop.operator().request(Method::PUT, "/services/variant");
        send(request.header("x-comptoir-signature", line).body(component)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_with_signers_accepts_only_components_that_one_of_them_signed() {
    let bench = Bench::new();
    let file = bench.component().to_str().unwrap().to_owned();
    let unsigned = bench.complaint(&["one"]).await;
    let next = "comptoir sign FILE --service variant --key KEY";
    assert!(unsigned.contains(&format!("{file}: it has no signature")) && unsigned.contains(next), "{unsigned}");
    bench.sign("two", 1);
    let other = bench.complaint(&["one"]).await;
    assert!(other.contains(&file) && other.contains("which is not in `signers`"), "{other}");
    std::fs::write(bench.component(), variant("good-2")).unwrap();
    let changed = bench.complaint(&["one", "two"]).await;
    assert!(changed.contains(&file) && changed.contains("a file with another sha256"), "{changed}");
    bench.sign("two", 1);
    let stand = Stand { shop: Shop::with(bench.manifest(&["one", "two"])).await };
    stand.serves(&digest(&variant("good-2"))).await;
    assert_eq!(stand.history().await[0]["signer"], bench.key("two").public().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_with_an_invalid_signature_is_refused_with_the_reason() {
    let bench = Bench::new();
    let stand = bench.open().await;
    let old = stand.active().await;
    let new = variant("good-2");
    let now = Clock::default().unix_seconds();
    let one = bench.key("one");
    let good = bench.signature("one", &new, 6);
    let line = |signature: Signature| signature.line().to_owned();
    let flipped = good.line().replacen("\"version\":6", "\"version\":7", 1);
    let wrong = [
        (String::new(), "the component: its signature is not the one line that `comptoir sign` writes"),
        (flipped, "or was changed afterwards"),
        (line(bench.signature("two", &new, 6)), "which is not in `signers`"),
        (line(one.sign("auth", &digest(&new), 6, now + DAY)), "its signature is for the service `auth`"),
        (line(one.sign("variant", &digest(&new), 6, now - 1)), "its signature expired at 20"),
        (line(bench.signature("one", &variant("good-3"), 6)), "a file with another sha256"),
        (line(bench.signature("one", &new, 4)), "has version 4, but the host has already accepted version 5"),
        (line(bench.signature("one", &new, 5)), "has version 5, but the host has already accepted version 5"),
    ];
    refuses(
        &stand.send("", new.clone()).await,
        422,
        "DEPLOY_REFUSED",
        "verified",
        "the component: it has no signature",
    );
    for (line, reason) in wrong {
        let answer = stand.send_signed(new.clone(), &line).await;
        refuses(&answer, 422, "DEPLOY_REFUSED", "verified", reason);
        assert_eq!(stand.history().await[0]["result"], "refused");
    }
    let mut flipped = new.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let answer = stand.send_signed(flipped, good.line()).await;
    refuses(&answer, 422, "DEPLOY_REFUSED", "verified", "a file with another sha256");
    stand.serves(&old).await;
    stand.send_signed(new.clone(), good.line()).await.succeeds(200);
    stand.serves(&digest(&new)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_and_the_audit_log_name_the_signing_key() {
    let bench = Bench::new();
    let mut stand = bench.open().await;
    let new = variant("good-2");
    let answer = stand.send_signed(new.clone(), bench.signature("one", &new, 6).line()).await;
    let key = bench.key("one").public().to_string();
    assert_eq!(answer.succeeds(200)["signer"], key);
    let signers: Vec<Value> = stand.history().await.iter().map(|line| line["signer"].clone()).collect();
    assert_eq!(signers, [&*key, &*key]);
    let back = stand.roll_back("").await;
    assert_eq!(back.succeeds(200)["signer"], key);
    let old = back.data()["to"].as_str().unwrap().to_owned();
    stand.shop.stop().await;
    let audit = std::fs::read_to_string(stand.shop.data.path().join(comptoir::audit::FILE)).unwrap();
    for digest in [digest(&new), old] {
        assert!(audit.contains(&format!("200 {digest} signed by {key}")), "{audit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_revision_may_be_used_after_its_signature_expired() {
    let bench = Bench::new();
    let mut stand = bench.open().await;
    let (old, new) = (stand.active().await, variant("good-2"));
    stand.send_signed(new.clone(), bench.signature("one", &new, 6).line()).await.succeeds(200);
    stand.shop.clock.shift(2 * i64::try_from(DAY).unwrap());
    stand.roll_back("").await.succeeds(200);
    stand.serves(&old).await;
    stand.shop.restart().await;
    stand.serves(&old).await;
    stand.roll_back(&format!("?to={}", digest(&new))).await.succeeds(200);
    stand.serves(&digest(&new)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_replaced_by_listing_both_for_a_while() {
    let bench = Bench::new();
    let mut stand = bench.open().await;
    let old = stand.active().await;
    stand.shop.stop().await;
    stand.shop.start_again_as(bench.manifest(&["one", "two"]), None).await.unwrap();
    let new = variant("good-2");
    stand.send_signed(new.clone(), bench.signature("two", &new, 6).line()).await.succeeds(200);
    stand.shop.stop().await;
    stand.shop.start_again_as(bench.manifest(&["two"]), None).await.unwrap();
    stand.serves(&digest(&new)).await;
    let answer = stand.roll_back(&format!("?to={old}")).await;
    refuses(&answer, 422, "DEPLOY_REFUSED", "verified", "which is not in `signers`");
    stand.shop.stop().await;
    let refused = stand.shop.start_again_as(bench.manifest(&["three"]), None).await.unwrap_err().to_string();
    assert!(refused.contains(&digest(&new)) && refused.contains("which is not in `signers`"), "{refused}");
    stand.shop.start_again_as(bench.manifest(&["two", "three"]), None).await.unwrap();
    for version in [1, 6] {
        let answer = stand.send_signed(new.clone(), bench.signature("three", &new, version).line()).await;
        refuses(
            &answer,
            422,
            "DEPLOY_REFUSED",
            "verified",
            &format!("has version {version}, but the host has already accepted version 6"),
        );
    }
    let answer = stand.send_signed(new.clone(), bench.signature("three", &new, 7).line()).await;
    assert_eq!(answer.succeeds(200)["changed"], false);
    stand.shop.stop().await;
    stand.shop.start_again_as(bench.manifest(&["three"]), None).await.unwrap();
    stand.serves(&digest(&new)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_with_new_signers_needs_a_signature_of_the_active_component() {
    let bench = Bench::new();
    let mut stand = Stand { shop: Shop::with(bench.manifest(&[])).await };
    let old = stand.active().await;
    assert_eq!(stand.history().await[0]["signer"], Value::Null);
    stand.shop.stop().await;
    let refused = stand.shop.start_again_as(bench.manifest(&["one"]), None).await.unwrap_err().to_string();
    assert!(refused.contains("variant.wasm: it has no signature"), "{refused}");
    bench.sign("one", 1);
    stand.shop.start_again_as(bench.manifest(&["one"]), None).await.unwrap();
    stand.serves(&old).await;
    // The file is no longer needed, and an older one beside it is ignored.
    std::fs::write(bench.component(), variant("good-2")).unwrap();
    bench.sign("one", 0);
    stand.shop.restart().await;
    stand.serves(&old).await;
    bench.sign("one", 2);
    stand.shop.restart().await;
    stand.serves(&digest(&variant("good-2"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_below_the_highest_accepted_one_is_refused_after_a_rollback_too() {
    let bench = Bench::new();
    let mut stand = bench.open().await;
    let [second, third, never] = ["good-2", "good-3", "good-4"].map(variant);
    for (component, version) in [(&second, 7), (&third, 9)] {
        let line = bench.signature("one", component, version);
        stand.send_signed(component.clone(), line.line()).await.succeeds(200);
    }
    // An older signature of the active component must not allow a version between the two.
    let old = [(&third, 6), (&never, 8), (&never, 9), (&second, 7)];
    let refuses_old = async |stand: &Stand| {
        for (component, version) in old {
            let answer = stand.send_signed(component.clone(), bench.signature("one", component, version).line()).await;
            let reason = format!("has version {version}, but the host has already accepted version 9");
            refuses(&answer, 422, "DEPLOY_REFUSED", "verified", &reason);
        }
    };
    refuses_old(&stand).await;
    stand.serves(&digest(&third)).await;
    stand.roll_back("").await.succeeds(200);
    refuses_old(&stand).await;
    stand.shop.restart().await;
    refuses_old(&stand).await;
    stand.serves(&digest(&second)).await;
    stand.send_signed(third.clone(), bench.signature("one", &third, 9).line()).await.succeeds(200);
    stand.serves(&digest(&third)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_with_an_expired_signature_cannot_be_promoted() {
    let bench = Bench::new();
    let stand = bench.open().await;
    let (old, new) = (stand.active().await, variant("good-2"));
    let operator = stand.shop.operator();
    let now = Clock::default().unix_seconds();
    let stage = async |version, expires| {
        let signature = bench.key("one").sign("variant", &digest(&new), version, expires);
        let request = operator.request(Method::PUT, "/services/variant?canary=5%25");
        let request = request.header("x-comptoir-signature", signature.line()).body(new.clone());
        send(request).await.succeeds(200);
    };
    stage(6, now + DAY).await;
    stand.shop.clock.shift(2 * i64::try_from(DAY).unwrap());
    let late = send(operator.request(Method::POST, "/canary/promote")).await;
    refuses(&late, 422, "DEPLOY_REFUSED", "verified", "its signature expired at 20");
    stand.serves(&old).await;
    assert_eq!(operator.get("/canary").await.succeeds(200)["share"], "5%", "the canary keeps its share");
    send(operator.request(Method::POST, "/canary/abort")).await.succeeds(200);
    stage(7, now + 3 * DAY).await;
    let promoted = send(operator.request(Method::POST, "/canary/promote")).await;
    assert_eq!(promoted.succeeds(200)[0]["signer"], bench.key("one").public().to_string());
    stand.serves(&digest(&new)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signature_of_a_deployed_component_belongs_into_the_data_folder() {
    let bench = Bench::new();
    let mut stand = Stand { shop: Shop::with(bench.manifest(&[])).await };
    let new = stand.deployed("good-2").await;
    stand.shop.stop().await;
    bench.sign("one", 1);
    let refused = stand.shop.start_again_as(bench.manifest(&["one"]), None).await.unwrap_err().to_string();
    let kept = stand.shop.data.path().join("revisions").join(format!("{new}.wasm"));
    assert!(refused.contains(&format!("{}: it has no signature", kept.display())), "{refused}");
    std::fs::write(beside(&kept), bench.signature("one", &variant("good-2"), 2).line()).unwrap();
    stand.shop.start_again_as(bench.manifest(&["one"]), None).await.unwrap();
    stand.serves(&new).await;
    std::fs::remove_file(beside(&kept)).unwrap();
    stand.shop.restart().await;
    stand.serves(&new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_deployed_without_a_signature_starts_once_it_is_signed() {
    let bench = Bench::new();
    let mut stand = bench.open().await;
    let (old, new) = (stand.active().await, variant("good-2"));
    refuses(&stand.send("", new.clone()).await, 422, "DEPLOY_REFUSED", "verified", "it has no signature");
    std::fs::write(bench.component(), &new).unwrap();
    stand.shop.restart().await;
    stand.serves(&old).await;
    bench.sign("one", 6);
    stand.shop.restart().await;
    stand.serves(&digest(&new)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_signature_or_record_is_named() {
    let bench = Bench::new();
    let path = beside(&bench.component());
    std::fs::create_dir(&path).unwrap();
    let unread = bench.complaint(&["one"]).await;
    assert!(unread.contains(&format!("cannot read {}: Is a directory", path.display())), "{unread}");
    std::fs::remove_dir(&path).unwrap();

    bench.sign("one", 5);
    let mut manifest = bench.manifest(&["one"]);
    manifest.deploy.keep = 0;
    let stand = Stand { shop: Shop::with(manifest).await };
    let new = variant("good-2");
    stand.send_signed(new.clone(), bench.signature("one", &new, 6).line()).await.succeeds(200);
    let record = rusqlite::Connection::open(stand.shop.data.path().join("deploys.db")).unwrap();
    record.execute_batch("DROP TABLE signatures").unwrap();
    stand.roll_back("").await.refuses(503, "RECORD_UNAVAILABLE");
    stand.serves(&digest(&new)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_creates_keys_and_signatures_and_a_deploy_sends_the_signature_file() {
    let bench = Bench::new();
    let stand = bench.open().await;
    let path = |name: &str| bench.folder.path().join(name).to_str().unwrap().to_owned();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let made = run(&["sign", "--new-key", &path("fresh")]).await;
    let public = SigningKey::read(Path::new(&path("fresh"))).unwrap().public().to_string();
    assert!(text(&made.stdout).contains(&format!("signers = [\"{public}\"]")), "{}", text(&made.stdout));
    let again = run(&["sign", "--new-key", &path("fresh")]).await;
    assert!(!again.status.success() && text(&again.stderr).contains("fresh exists already: name a file that does not"));
    let keyless = run(&["sign", &path("new.wasm"), "--service", "variant", "--key", &path("absent")]).await;
    assert!(text(&keyless.stderr).contains("comptoir sign --new-key KEY"), "{}", text(&keyless.stderr));

    std::fs::write(path("new.wasm"), variant("good-2")).unwrap();
    let (admin, data) = (stand.shop.addresses().admin.to_string(), stand.shop.data.path().to_str().unwrap());
    let deploy = ["deploy", "variant", &path("new.wasm"), "--admin", &admin, "--data", data];
    let unsigned = text(&run(&deploy).await.stderr);
    assert!(unsigned.contains("new.wasm: the service `variant` could not be verified"), "{unsigned}");
    std::fs::write(path("new.wasm.sig"), "no signature").unwrap();
    let damaged = text(&run(&deploy).await.stderr);
    assert!(damaged.contains("new.wasm.sig: its signature is not the one line"), "{damaged}");
    let signed = run(&["sign", &path("new.wasm"), "--service", "variant", "--key", &path("one")]).await;
    assert!(signed.status.success(), "{}", text(&signed.stderr));
    assert!(text(&signed.stdout).contains("new.wasm.sig"), "{}", text(&signed.stdout));
    let deployed = run(&deploy).await;
    assert!(deployed.status.success(), "{}", text(&deployed.stderr));
    stand.serves(&digest(&variant("good-2"))).await;
    let history = text(&run(&["history", "variant", "--admin", &admin, "--data", data]).await.stdout);
    let one = bench.key("one").public();
    let newest = history.lines().nth(1).expect("a line below the heading");
    assert!(newest.ends_with(&format!("signed by {one}")), "{history}");
}
