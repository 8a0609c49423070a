//! Folders that the manifest opens for a component: read only, and nothing outside of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use testing::{Shop, manifest_of};

/// A folder with files and links, and beside it a secret that no path may reach.
fn site() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let site = root.path().join("site");
    fs::create_dir_all(site.join("inner/deep")).unwrap();
    fs::write(root.path().join("secret"), "secret").unwrap();
    for (file, text) in [("a.txt", "one"), ("inner/b.txt", "two"), ("inner/deep/c.txt", "three")] {
        fs::write(site.join(file), text).unwrap();
    }
    for (link, target) in [
        ("inside", Path::new("inner/b.txt")),
        ("inner/up", Path::new("../a.txt")),
        ("out", Path::new("../secret")),
        ("out-folder", Path::new("..")),
        ("out-absolute", root.path()),
        ("loop", Path::new("loop")),
    ] {
        symlink(target, site.join(link)).unwrap();
    }
    root
}

/// A service with this folder.
fn service(name: &str, root: &TempDir, more: &str) -> String {
    let from = root.path().join("site");
    format!(
        "[services.{name}]\ncomponent = \"guest_site_{name}.wasm\"\nmounts = [\"/site\"]\naccess = \"public\"\n\
         public = [\"/site\"]\nfiles = [{{ from = {from:?}, to = \"/www\" }}]\n{more}\n"
    )
}

async fn host(name: &str, root: &TempDir) -> Shop {
    Shop::with(manifest_of(&service(name, root, ""))).await
}

async fn text(shop: &Shop, path: &str) -> String {
    shop.anon().get(path).await.text
}

/// Paths that lead out of the folder, from inside of it.
const OUTSIDE: [&str; 10] = [
    "../secret",
    "inner/../../secret",
    "inner/../../site/../secret",
    "out",
    "out-folder/secret",
    "out-folder/site/a.txt",
    "out-absolute/secret",
    "inner/../out",
    "./././../secret",
    "out-folder/../secret",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_0_2_component_reads_and_lists_its_folder() {
    let root = site();
    let shop = host("p2", &root).await;
    for (path, expected) in [
        ("/www/a.txt", "one"),
        ("/www/inner/deep/../b.txt", "two"),
        ("/www/inside", "two"),
        ("/www/inner/up", "one"),
        ("/www/absent", "NotFound"),
        ("/www/a.txt/b", "NotADirectory"),
        ("/etc/hostname", "NotFound"),
        ("a.txt", "NotFound"),
    ] {
        assert_eq!(text(&shop, &format!("/site/read?{path}")).await, expected, "{path}");
    }
    assert_eq!(text(&shop, "/site/list?/www/inner").await, "b.txt=file\ndeep=folder\nup=link\n");
    assert_eq!(text(&shop, "/site/list?/www/a.txt").await, "NotADirectory");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_0_3_component_reads_and_lists_its_folder() {
    let root = site();
    let shop = host("p3", &root).await;
    for (path, expected) in [
        ("a.txt", "/www one Ok(())"),
        ("inside", "/www two Ok(())"),
        ("inner/deep/../up", "/www one Ok(())"),
        ("absent", "ErrorCode::NoEntry"),
        ("loop", "ErrorCode::Loop"),
    ] {
        assert_eq!(text(&shop, &format!("/site/read?{path}")).await, expected, "{path}");
    }
    let listed =
        "b.txt=DescriptorType::RegularFile\ndeep=DescriptorType::Directory\nup=DescriptorType::SymbolicLink\nOk(())";
    assert_eq!(text(&shop, "/site/list?inner").await, listed);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_and_no_link_leads_out_of_a_folder() {
    let root = site();
    let (p2, p3) = (host("p2", &root).await, host("p3", &root).await);
    for path in OUTSIDE {
        let read = text(&p2, &format!("/site/read?/www/{path}")).await;
        assert!(["PermissionDenied", "NotFound"].contains(&&*read), "{path}: {read}");
        assert_eq!(text(&p3, &format!("/site/read?{path}")).await, "ErrorCode::NotPermitted", "{path}");
    }
    for path in ["/etc/hostname", "/www/a.txt", &root.path().join("secret").display().to_string()] {
        assert_eq!(text(&p3, &format!("/site/read?{path}")).await, "ErrorCode::NotPermitted", "{path}");
    }
    let listed = text(&p2, "/site/list?/www/out-folder").await;
    assert_eq!(listed, "PermissionDenied");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_to_a_folder_is_denied() {
    let root = site();
    let (p2, p3) = (host("p2", &root).await, host("p3", &root).await);
    let told = text(&p2, "/site/write?/www").await;
    assert_eq!(told.lines().count(), 11);
    for line in told.lines() {
        assert!(line.ends_with(" Err(PermissionDenied)"), "{line}");
    }
    let told = text(&p3, "/site/write").await;
    assert_eq!(told.lines().count(), 11);
    for line in told.lines() {
        assert!(line.ends_with(" Err(ErrorCode::NotPermitted)"), "{line}");
    }
    let site = root.path().join("site");
    assert_eq!((fs::read_to_string(site.join("a.txt")).unwrap().as_str(), site.join("new").exists()), ("one", false));
    assert!(site.join("inner").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_depends_on_files_is_never_cached() {
    let root = site();
    let shop = host("p2", &root).await;
    for content in ["one", "two", "three"] {
        fs::write(root.path().join("site/a.txt"), content).unwrap();
        for path in ["/site/read?/www/a.txt", "/site/read?/www/absent", "/site/list?/www/inner"] {
            assert_eq!(shop.anon().get(path).await.header("x-comptoir-cache"), "bypass", "{path}");
        }
        assert_eq!(text(&shop, "/site/read?/www/a.txt").await, content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_at_most_64_files_open_and_closes_them() {
    let root = site();
    let (p2, p3) = (host("p2", &root).await, host("p3", &root).await);
    // More requests than the 1,024 files of a revision allow at once, so files that stay open would be noticed.
    for _ in 0..20 {
        assert_eq!(text(&p2, "/site/open?64:/www/a.txt").await, "64");
        assert_eq!(text(&p3, "/site/open?64:a.txt").await, "64");
    }
    assert_eq!(text(&p2, "/site/open?100000:/www/a.txt").await, "64 QuotaExceeded");
    assert_eq!(text(&p3, "/site/open?100000:a.txt").await, "64 ErrorCode::Quota");
    assert_eq!(text(&p2, "/site/read?/www/a.txt").await, "one");
}

/// Opening a named pipe waits for a writer. That must cost the others no thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_never_open_do_not_stall_other_requests() {
    let root = site();
    let pipe = root.path().join("site/pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let shop = host("p2", &root).await;
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let anon = shop.anon();
            tokio::spawn(async move { anon.get("/site/open?1:/www/pipe").await.text })
        })
        .collect();
    let in_use = async || shop.operator().get("/services/p2").await.data()["instances"]["in_use"].clone();
    while in_use().await != 8 {
        assert!(!waiting.iter().any(|answer| answer.is_finished()), "the pipe was opened without a writer");
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        assert_eq!(text(&shop, "/site/read?/www/a.txt").await, "one");
    }
    let writer = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    for answer in waiting {
        assert_eq!(answer.await.unwrap(), "1");
    }
    drop(writer);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_with_folders_is_reused() {
    let root = site();
    let shop = Shop::with(manifest_of(&service("p2", &root, "reuse = \"anyone\""))).await;
    for requests in ["2", "4"] {
        assert_eq!(text(&shop, "/site/read?/www/a.txt").await, "one");
        assert_eq!(text(&shop, "/site/requests").await, requests);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_missing_keeps_a_host_from_starting() {
    let root = site();
    fs::rename(root.path().join("site"), root.path().join("moved")).unwrap();
    let (manifest, data) = (manifest_of(&service("p2", &root, "")), tempfile::tempdir().unwrap());
    let options = comptoir::host::Options::default();
    let refused = comptoir::host::Host::start(manifest, data.path(), options).await.err().unwrap().to_string();
    assert!(refused.contains("files of p2: cannot open the folder "), "{refused}");
    assert!(
        refused.contains("/site: No such file or directory (os error 2): create it, or correct `from`"),
        "{refused}"
    );
}
