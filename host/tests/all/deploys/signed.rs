//! Components that must be signed: `signers` in the manifest.

use std::path::{Path, PathBuf};

use comptoir::manifest::Manifest;
use comptoir::signature::{Signature, SigningKey, beside};
use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;

use super::{Stand, digest, manifest_text, refuses, variant};
use crate::harness::{Answer, Shop, manifest_of, options, send};
use crate::process::run;
use comptoir::clock::Clock;
use comptoir::host::Host;

const DAY: u64 = 24 * 3600;

/// A folder with keys, and with the component that the manifest names.
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
        SigningKey::read(&file).or_else(|_| SigningKey::make(&file)).unwrap()
    }

    /// A manifest that lists these keys.
    fn manifest(&self, keys: &[&str]) -> Manifest {
        let keys: Vec<_> = keys.iter().map(|name| self.key(name).public().to_string()).collect();
        manifest_of(&manifest_text(&format!("signers = {keys:?}"), "", self.component().to_str().unwrap()))
    }

    /// Signs the file that the manifest names, whatever it is now.
    fn sign(&self, key: &str, version: u64) {
        let signature = self.signature(key, &std::fs::read(self.component()).unwrap(), version);
        std::fs::write(beside(&self.component()), signature.line()).unwrap();
    }

    fn signature(&self, key: &str, component: &[u8], version: u64) -> Signature {
        self.key(key).sign("variant", &digest(component), version, Clock::default().unix_seconds() + DAY)
    }

    /// A host that lists the key `one`, with the component signed by it in version 5.
    async fn open(&self) -> Stand {
        self.sign("one", 5);
        Stand { shop: Shop::with(self.manifest(&["one"])).await }
    }

    /// Why a host does not start on an empty folder.
    async fn complaint(&self, keys: &[&str]) -> String {
        let data = tempfile::tempdir().unwrap();
        let started = Host::start(self.manifest(keys), data.path(), options(&Clock::default())).await;
        started.err().expect("it does not start").to_string()
    }
}

impl Stand {
    async fn send_signed(&self, component: Vec<u8>, line: &str) -> Answer {
        let request = self.shop.operator().request(Method::PUT, "/services/variant");
        send(request.header("x-comptoir-signature", line).body(component)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_lists_signers_starts_with_what_one_of_them_signed_and_with_nothing_else() {
    let bench = Bench::new();
    let file = bench.component().to_str().unwrap().to_owned();
    let unsigned = bench.complaint(&["one"]).await;
    let next = "comptoir sign FILE --service variant --key KEY";
    assert!(unsigned.contains(&format!("{file}: it has no signature")) && unsigned.contains(next), "{unsigned}");
    bench.sign("two", 1);
    let other = bench.complaint(&["one"]).await;
    assert!(other.contains(&file) && other.contains("which is none of `signers`"), "{other}");
    std::fs::write(bench.component(), variant("good-2")).unwrap();
    let changed = bench.complaint(&["one", "two"]).await;
    assert!(changed.contains(&file) && changed.contains("a file of another sha256"), "{changed}");
    bench.sign("two", 1);
    let stand = Stand { shop: Shop::with(bench.manifest(&["one", "two"])).await };
    stand.serves(&digest(&variant("good-2"))).await;
    assert_eq!(stand.history().await[0]["signer"], bench.key("two").public().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_whose_signature_is_not_good_is_refused_and_says_why() {
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
        (flipped, "or was changed since"),
        (line(bench.signature("two", &new, 6)), "which is none of `signers`"),
        (line(one.sign("auth", &digest(&new), 6, now + DAY)), "its signature is for the service `auth`"),
        (line(one.sign("variant", &digest(&new), 6, now - 1)), "its signature expired at 20"),
        (line(bench.signature("one", &variant("good-3"), 6)), "a file of another sha256"),
        (line(bench.signature("one", &new, 4)), "has version 4, and that of what serves has 5"),
        (line(bench.signature("one", &new, 5)), "has version 5, and that of what serves has 5"),
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
    refuses(&answer, 422, "DEPLOY_REFUSED", "verified", "a file of another sha256");
    stand.serves(&old).await;
    stand.send_signed(new.clone(), good.line()).await.succeeds(200);
    stand.serves(&digest(&new)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_and_the_audit_log_say_which_key_signed() {
    let bench = Bench::new();
    let mut stand = bench.open().await;
    let new = variant("good-2");
    let answer = stand.send_signed(new.clone(), bench.signature("one", &new, 6).line()).await;
    let key = bench.key("one").public().to_string();
    assert_eq!(answer.succeeds(200)["signer"], key);
    let signers: Vec<Value> = stand.history().await.iter().map(|line| line["signer"].clone()).collect();
    assert_eq!(signers, [&*key, &*key]);
    stand.shop.stop().await;
    let audit = std::fs::read_to_string(stand.shop.data.path().join(comptoir::audit::FILE)).unwrap();
    assert!(audit.contains(&format!("200 {} signed by {key}", digest(&new))), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_once_is_gone_back_to_and_started_with_after_its_time() {
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
async fn a_key_is_replaced_by_listing_two_for_a_while_and_what_only_the_old_one_signed_serves_no_more() {
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
    refuses(&answer, 422, "DEPLOY_REFUSED", "verified", "which is none of `signers`");
    stand.shop.stop().await;
    let refused = stand.shop.start_again_as(bench.manifest(&["three"]), None).await.unwrap_err().to_string();
    assert!(refused.contains(&digest(&new)) && refused.contains("which is none of `signers`"), "{refused}");
    stand.shop.start_again_as(bench.manifest(&["two", "three"]), None).await.unwrap();
    let answer = stand.send_signed(new.clone(), bench.signature("three", &new, 1).line()).await;
    assert_eq!(answer.succeeds(200)["changed"], false);
    stand.shop.stop().await;
    stand.shop.start_again_as(bench.manifest(&["three"]), None).await.unwrap();
    stand.serves(&digest(&new)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_manifest_begins_to_list_signers_asks_for_the_signature_of_what_serves() {
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
    // The file is not needed any more, and an older one beside it is not taken.
    std::fs::write(bench.component(), variant("good-2")).unwrap();
    bench.sign("one", 0);
    stand.shop.restart().await;
    stand.serves(&old).await;
    bench.sign("one", 2);
    stand.shop.restart().await;
    stand.serves(&digest(&variant("good-2"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_makes_keys_and_signatures_and_a_deploy_sends_what_lies_beside_the_file() {
    let bench = Bench::new();
    let stand = bench.open().await;
    let path = |name: &str| bench.folder.path().join(name).to_str().unwrap().to_owned();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let made = run(&["sign", "--new-key", &path("fresh")]).await;
    let public = SigningKey::read(Path::new(&path("fresh"))).unwrap().public().to_string();
    assert!(text(&made.stdout).contains(&format!("signers = [\"{public}\"]")), "{}", text(&made.stdout));
    let again = run(&["sign", "--new-key", &path("fresh")]).await;
    assert!(!again.status.success() && text(&again.stderr).contains("fresh: entity already exists"));
    let keyless = run(&["sign", &path("new.wasm"), "--service", "variant", "--key", &path("absent")]).await;
    assert!(text(&keyless.stderr).contains("comptoir sign --new-key KEY"), "{}", text(&keyless.stderr));

    std::fs::write(path("new.wasm"), variant("good-2")).unwrap();
    let (admin, data) = (stand.shop.addresses().admin.to_string(), stand.shop.data.path().to_str().unwrap());
    let deploy = ["deploy", "variant", &path("new.wasm"), "--admin", &admin, "--data", data];
    let unsigned = text(&run(&deploy).await.stderr);
    assert!(unsigned.contains("new.wasm: the service `variant` could not be verified"), "{unsigned}");
    let signed = run(&["sign", &path("new.wasm"), "--service", "variant", "--key", &path("one")]).await;
    assert!(signed.status.success(), "{}", text(&signed.stderr));
    assert!(text(&signed.stdout).contains("new.wasm.sig"), "{}", text(&signed.stdout));
    let deployed = run(&deploy).await;
    assert!(deployed.status.success(), "{}", text(&deployed.stderr));
    stand.serves(&digest(&variant("good-2"))).await;
    let history = text(&run(&["history", "variant", "--admin", &admin, "--data", data]).await.stdout);
    let one = bench.key("one").public();
    assert!(history.lines().next().unwrap().ends_with(&format!("signed by {one}")), "{history}");
}
