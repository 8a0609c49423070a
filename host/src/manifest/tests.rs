#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;
use crate::passwords::WorkFactor;

const SOUND: &str = r#"
[listeners]
gateway = "127.0.0.1:8000"
admin = "127.0.0.1:8010"

[limits]
time = "5s"
body = "64 KiB"

[services.orders]
component = "orders.wasm"
mounts = ["/orders", "/products"]
public = ["/products"]
grants = ["storage"]
limits = { time = "250ms", memory = "16 MiB" }

[services.user]
component = "user.wasm"
mounts = ["/users"]
calls = ["orders"]
"#;

fn parse(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(Path::new("shop/comptoir.toml"), text)
}

#[test]
fn limits_come_from_the_service_the_manifest_or_the_defaults() {
    let manifest = parse(SOUND).unwrap();
    let orders = &manifest.services["orders"];
    assert_eq!(orders.component, Path::new("shop/orders.wasm"));
    assert_eq!(orders.limits.time, Duration::from_millis(250));
    assert_eq!(orders.limits.body_bytes, 64 << 10);
    assert_eq!(orders.limits.cpu, Limits::default().cpu);
    assert_eq!(manifest.services["user"].limits.time, Duration::from_secs(5));
    assert_eq!(orders.line, 10);
}

#[test]
fn sources_are_by_default_the_folder_of_the_manifest_and_need_a_command() {
    let user = |extra: &str| parse(&SOUND.replace("mounts = [\"/users\"]", &format!("mounts = [\"/users\"]\n{extra}")));
    let built = user("build = \"make\"").unwrap().services["user"].clone();
    assert_eq!((built.build.as_deref(), built.sources), (Some("make"), vec!["shop/.".into()]));
    let named = user("build = \"make\"\nsources = [\"src\", \"../kit\"]").unwrap().services["user"].clone();
    assert_eq!(named.sources, [Path::new("shop/src"), Path::new("shop/../kit")]);
    assert_eq!(user("").unwrap().services["user"].sources, Vec::<PathBuf>::new());
    for (keys, said) in [("sources = [\"src\"]", "but there is no `build`"), ("build = \" \"", "build is empty")] {
        let refused = user(keys).unwrap_err().to_string();
        assert!(refused.contains(said), "{refused}");
    }
}

#[test]
fn mounts_are_kept_and_credentials_removed_unless_the_manifest_says_otherwise() {
    let user = |extra: &str| parse(&SOUND.replace("mounts = [\"/users\"]", extra)).unwrap().services["user"].clone();
    let default = user("mounts = [\"/users\"]");
    assert_eq!((default.strip, default.credentials), (false, Credentials::Remove));
    let public = user("mounts = [\"/users\"]\nstrip = true\naccess = \"public\"\ncredentials = \"pass\"");
    assert_eq!((public.strip, public.credentials), (true, Credentials::Pass));
    let described = user("mounts = [\"/users\"]\npublic = [\"/users/git\"]\ncredentials = \"pass\"");
    assert_eq!((described.strip, described.credentials), (false, Credentials::Pass));
    let unchanged = user("mounts = [\"/users\", \"/people\"]\nstrip = false\ncredentials = \"remove\"");
    assert_eq!((unchanged.strip, unchanged.credentials), (false, Credentials::Remove));
}

#[test]
fn the_response_cache_has_a_size_or_is_off() {
    let answers_bytes = |written: &str| {
        let manifest = parse(&SOUND.replacen("time = \"250ms\"", written, 1)).unwrap();
        manifest.services["orders"].limits.answers_bytes
    };
    assert_eq!(answers_bytes("answers = \"off\""), 0);
    assert_eq!(answers_bytes("answers = \"64 KiB\""), 64 << 10);
    assert_eq!(answers_bytes("cpu = \"1s\""), Limits::default().answers_bytes);
}

#[test]
fn the_cost_of_a_password_check_is_the_default_or_more() {
    let work = |written: &str| parse(&format!("{SOUND}\n[passwords]\n{written}")).map(|read| read.passwords.work());
    let cost = |memory_kib, passes| WorkFactor { memory_kib, passes };
    assert_eq!((parse(SOUND).unwrap().passwords.work(), work("").unwrap()), (cost(19456, 2), cost(19456, 2)));
    assert_eq!(work("memory = \"64 MiB\"\npasses = 3").unwrap(), cost(65536, 3));
    for refused in ["memory = \"18 MiB\"", "memory = \"257 MiB\"", "memory = 19456", "passes = 1", "passes = 11"] {
        assert!(work(refused).unwrap_err().faults[0].line.is_some(), "{refused}");
    }
    let refused = work("memory = \"18 MiB\"").unwrap_err();
    assert!(refused.to_string().contains("from \"19.0 MiB\" to \"256.0 MiB\""), "{refused}");
}

#[test]
fn a_password_check_waits_five_seconds_by_default() {
    let waits = |written: &str| {
        parse(&format!("{SOUND}\n[passwords]\n{written}")).map(|read| read.passwords.limits().queue_time.as_millis())
    };
    assert_eq!((waits("").unwrap(), waits("queue_time = \"250ms\"").unwrap()), (5000, 250));
    for refused in ["queue_time = 5", "queue_time = \"0s\"", "queue_time = \"25h\""] {
        assert!(waits(refused).unwrap_err().faults[0].line.is_some(), "{refused}");
    }
}

#[test]
fn a_password_has_at_least_eight_characters_by_default() {
    let minimum = |written: &str| parse(&format!("{SOUND}\n[passwords]\n{written}")).map(|read| read.passwords.minimum);
    assert_eq!((parse(SOUND).unwrap().passwords.minimum, minimum("").unwrap()), (8, 8));
    for written in [8, 15, 64] {
        assert_eq!(minimum(&format!("minimum = {written}")).unwrap(), written);
    }
    for written in ["7", "65", "-1", "4294967296", "15.5", "\"15\""] {
        let refused = minimum(&format!("minimum = {written}")).unwrap_err();
        assert!(refused.faults[0].line.is_some(), "{refused}");
    }
    let refused = minimum("minimum = 7").unwrap_err();
    assert!(refused.to_string().contains("from 8 to 64"), "{refused}");
}

#[test]
fn the_shipped_manifest_is_sound() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("comptoir.toml");
    let manifest = Manifest::read(&file).unwrap();
    assert_eq!(manifest.services.keys().collect::<Vec<_>>(), ["auth", "front", "orders", "user"]);
}

#[test]
fn each_fault_is_reported_with_its_line_and_what_to_write() {
    let table = [
        ("admin = \"127.0.0.1:8010\"", "admin = \"0.0.0.0:8010\"", 4, "must be on loopback"),
        ("gateway = \"127.0.0.1:8000\"", "gateway = \"localhost\"", 3, "such as \"127.0.0.1:8000\""),
        ("time = \"5s\"", "time = \"soon\"", 7, "write one such as \"10s\""),
        ("body = \"64 KiB\"", "bodies = \"64 KiB\"", 8, "unknown field `bodies`: did you mean `body`?"),
        ("grants = [\"storage\"]", "grants = [\"sockets\"]", 14, "unknown variant `sockets`"),
        ("[limits]", "[audit]\nfile = \"1 KiB\"\n[limits]", 7, "at least 64.0 KiB"),
        ("[limits]", "[deploy]\nsigners = [\"a key\"]\n[limits]", 7, "an Ed25519 public key of 32 bytes in base64"),
        ("public = [\"/products\"]", "public = [\"/prod\"]", 13, "not under any of the mounts"),
        ("\"/orders\", \"/products\"", "\"orders/\", \"/products\"", 12, "is not a path prefix"),
        ("mounts = [\"/users\"]", "mounts = []", 19, "at least one path prefix"),
        ("mounts = [\"/users\"]", "mounts = [\"/orders\"]", 19, "give each mount to one service"),
        ("calls = [\"orders\"]", "calls = [\"billing\"]", 20, "not a service of this manifest"),
        ("memory = \"16 MiB\"", "memory = \"1 B\"", 15, "from \"64 KiB\" to \"4 GiB\""),
        (
            "mounts = [\"/users\"]",
            "mounts = [\"/users\"]\nlisten = \"127.0.0.1:8000\"",
            20,
            "127.0.0.1:8000 of service `user` is already the address of the gateway",
        ),
        (
            "admin = \"127.0.0.1:8010\"",
            "admin = \"127.0.0.1:8010\"\ncors = [\"*\"]",
            5,
            "cors names `*`, which is not an origin",
        ),
        (
            "admin = \"127.0.0.1:8010\"",
            "admin = \"127.0.0.1:8010\"\ntls = { key = \"a\" }",
            5,
            "missing field `certificate`",
        ),
        ("time = \"5s\"", "time = \"300000000000y\"", 7, "at most a day"),
        ("time = \"250ms\"", "concurrency = 9223372036854775807", 15, "from 1 to 10000"),
        ("time = \"250ms\"", "answers = \"1 KiB\"", 15, "write \"off\", or a size such as \"16 MiB\""),
        ("time = \"250ms\"", "answers = \"on\"", 15, "write \"off\", or a size such as \"16 MiB\""),
        ("grants = [\"storage\"]", "reuse = \"always\"", 14, "expected one of `never`, `session`, `anyone`"),
        (
            "grants = [\"storage\"]",
            "strip = true",
            14,
            "strip allows only one mount, because it removes the mount from the path. There are 2",
        ),
        ("calls = [\"orders\"]", "strip = \"yes\"", 20, "expected a boolean"),
        (
            "calls = [\"orders\"]",
            "credentials = \"pass\"",
            20,
            "on public routes only, and this service has none: add access = \"public\"",
        ),
        (
            "calls = [\"orders\"]",
            "access = \"public\"\nreuse = \"anyone\"\ncredentials = \"pass\"",
            22,
            "would keep one client's password in memory that serves others: remove `reuse`",
        ),
        ("calls = [\"orders\"]", "credentials = \"keep\"", 20, "expected `remove` or `pass`"),
        ("[services.user]", "[services.User]", 17, "may only contain a-z, 0-9 and -"),
    ];
    for (right, wrong, line, message) in table {
        assert!(SOUND.contains(right), "the sound manifest lacks {right}");
        let error = parse(&SOUND.replacen(right, wrong, 1)).expect_err(wrong);
        let lines: Vec<_> = error.faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [Some(line)], "{wrong}: {error}");
        assert!(error.to_string().contains(message), "{wrong}: {error}");
        assert!(error.to_string().starts_with("shop/comptoir.toml:"), "{error}");
    }
}

#[test]
fn all_faults_are_reported_at_once() {
    let mistakes = [
        ("gateway = \"127.0.0.1:8000\"", "gateway = \"localhost:9000\"", 3, "such as \"127.0.0.1:9000\""),
        ("time = \"5s\"", "time = 5", 7, "5 is not a duration: write one such as \"10s\""),
        ("body = \"64 KiB\"", "body = \"1 MegaByte\"", 8, "\"1 MegaByte\" is not a size: write one such as \"64 KiB\""),
        ("component = \"orders.wasm\"", "component = \"orders.wasm\"\ngrant = []", 12, "did you mean `grants`?"),
        ("public = [\"/products\"]", "public = [\"/product\"]", 14, "(/orders, /products): did you mean `/products`?"),
        ("mounts = [\"/users\"]", "mount = [\"/users\"]", 20, "unknown field `mount`: did you mean `mounts`?"),
        (
            "calls = [\"orders\"]",
            "calls = [\"order\"]\n\n[operater]",
            23,
            "unknown key `operater`: did you mean `operator`?",
        ),
    ];
    let replace = |text: String, (right, wrong, ..): &(&str, &str, usize, &str)| text.replacen(right, wrong, 1);
    let error = parse(&mistakes.iter().fold(SOUND.to_owned(), replace)).unwrap_err();
    let lines: Vec<_> = error.faults.iter().map(|fault| fault.line.unwrap()).collect();
    assert_eq!(lines, mistakes.map(|(_, _, line, _)| line), "{error}");
    for (fault, (_, _, _, message)) in error.faults.iter().zip(mistakes) {
        assert!(fault.message.contains(message), "{message}: {error}");
    }
}

#[test]
fn a_fault_is_shown_with_carets_under_it() {
    let error = parse(&SOUND.replacen("body = \"64 KiB\"", "bodi = \"64 KiB\"", 1)).unwrap_err().to_string();
    assert!(error.contains("unknown field `bodi`: did you mean `body`? Expected one of `body`, `response`"), "{error}");
    assert!(error.ends_with("\n  |\n8 | bodi = \"64 KiB\"\n  | ^^^^"), "{error}");
}

#[test]
fn text_that_is_not_toml_is_refused_with_the_line_of_each_error() {
    let error = parse(&SOUND.replacen("time = \"5s\"", "time = ", 1).replacen("[services.user]", "[services.user", 1));
    let error = error.unwrap_err();
    let lines: Vec<_> = error.faults.iter().map(|fault| fault.line).collect();
    assert_eq!(lines, [Some(7), Some(17)], "{error}");
}

#[test]
fn an_empty_manifest_is_refused_with_what_to_write() {
    let error = parse("").unwrap_err().to_string();
    for expected in [
        "the table [listeners] is missing: write one, with gateway = \"127.0.0.1:8000\"",
        "at least one [services.<name>]",
    ] {
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_path_is_inside_a_prefix_by_whole_segments() {
    assert!(is_inside("/orders", "/orders"));
    assert!(is_inside("/orders/1", "/orders"));
    assert!(is_inside("/anything", "/"));
    assert!(!is_inside("/orders2", "/orders"));
}

/// The faults of a manifest whose service has this table `config`.
fn faults_of_config(config: &str) -> String {
    parse(&format!("{SOUND}\n[services.user.config]\n{config}")).unwrap_err().to_string()
}

#[test]
fn config_is_a_table_of_strings() {
    let manifest = parse(&format!("{SOUND}\nconfig = {{ \"a.b-c_D\" = \"\", url = \"x=\\ny\" }}")).unwrap();
    let expected = [("a.b-c_D", ""), ("url", "x=\ny")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(manifest.services["user"].config, expected.into());
    for (config, message) in [
        ("port = 8080", "the value of `port` in config must be a string: write \"port\" = \"8080\""),
        ("debug = true", "must be a string: write \"debug\" = \"true\""),
        ("db.host = \"a\"", "the value of `db` in config is a table: write a string, or one key for each part"),
        ("\"a=b\" = \"\"", "`a=b` cannot be a key of config"),
        ("\"a\\u0000b\" = \"\"", "`a\\u{0}b` cannot be a key of config"),
        ("\"\" = \"\"", "`` cannot be a key of config"),
        ("a = \"b\\u0000\"", "the value of `a` in config contains the character NUL: remove it"),
        ("a-b = \"\"\na_b = \"\"", "`a-b` and `a_b` of config both become the environment variable A_B: rename one"),
        ("a = \"\"\nA = \"\"", "both become the environment variable A"),
    ] {
        let faults = faults_of_config(config);
        assert!(faults.contains(message), "{config}: {faults}");
        assert!(faults.contains("comptoir.toml:"), "{config}: {faults}");
    }
}

#[test]
fn config_has_at_most_256_keys_and_64_kib() {
    let keys = |count: usize| (0..count).map(|key| format!("k{key} = \"\"\n")).collect::<String>();
    let value = |bytes: usize| format!("a = \"{}\"", "x".repeat(bytes));
    for fitting in [keys(256), value((64 << 10) - 1)] {
        assert!(parse(&format!("{SOUND}\n[services.user.config]\n{fitting}")).is_ok());
    }
    for (config, counts) in [(keys(257), "257 keys and 918 bytes"), (value(64 << 10), "1 keys and 65537 bytes")] {
        let faults = faults_of_config(&config);
        assert!(faults.contains(&format!("the config of service `user` has {counts}, more than 256 keys")), "{faults}");
    }
    let faults = faults_of_config(&format!("{} = \"\"", "k".repeat(1 << 20)));
    assert!(faults.contains("cannot be a key of config"), "{}", faults.len());
}

#[test]
fn files_are_folders_relative_to_the_manifest() {
    let with = |files: &str| parse(&format!("{SOUND}\nfiles = [{files}]"));
    let manifest = with("{ from = \"site\", to = \"/\" }, { from = \"/srv/a\", to = \"/a b/c\" }").unwrap();
    let folders: Vec<_> =
        manifest.services["user"].files.iter().map(|folder| (folder.from.clone(), folder.to.as_str())).collect();
    assert_eq!(folders, [("shop/site".into(), "/"), ("/srv/a".into(), "/a b/c")]);
    for to in ["", "site", "/site/", "//", "/a//b", "/a/../b", "/.", "/a\\u0000", "./a"] {
        let faults = with(&format!("{{ from = \"site\", to = \"{to}\" }}")).unwrap_err().to_string();
        assert!(faults.contains("cannot be a component's path to a folder: write \"/\""), "{to}: {faults}");
    }
    let twice = with("{ from = \"a\", to = \"/\" }, { from = \"b\", to = \"/\" }").unwrap_err().to_string();
    assert!(twice.contains("two folders have the path `/`: give each its own"), "{twice}");
    let many: String = (0..17).map(|number| format!("{{ from = \"a\", to = \"/{number}\" }}, ")).collect();
    let many = with(&many).unwrap_err().to_string();
    assert!(many.contains("files of service `user` has 17 folders, but 16 are the most"), "{many}");
    assert!(with("{ from = \"a\" }").is_err() && with("{ from = \"a\", to = \"/\", write = true }").is_err());
}
