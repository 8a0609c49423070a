//! Checks the documents: README's transcript and the tutorials work, its service compiles, every `comptoir` command in them exists, and each
//! document keeps to its length.

mod tutorial;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use comptoir::manifest::Manifest;
use testing::built::{component, host_folder, program};
use testing::shop_process::{ShopProcess, data};

/// Bash functions for the transcript. The recipe `upgrade` builds a component; here it deploys one that the test prepared.
const PRELUDE: &str = r#"
comptoir() { "$program" "$@"; }
just() {
    case $1 in
        upgrade) comptoir deploy "$2" "$2.wasm" "${@:3}" ;;
        *) comptoir "$@" ;;
    esac
}
"#;

fn read(path: &str) -> String {
    std::fs::read_to_string(host_folder().join("..").join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The fenced blocks of a document in this language.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    let block = |rest: &str| rest.split("```").next().map(str::to_owned);
    document.split(&opening).skip(1).filter_map(block).collect()
}

/// A command of a transcript, and the lines that it must print. If the document shows none, it may print anything.
struct Step {
    command: String,
    expected: Vec<String>,
}

fn steps(transcript: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in transcript.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix("$ ") {
            Some(command) => steps.push(Step { command: command.to_owned(), expected: Vec::new() }),
            None => steps.last_mut().expect("a transcript begins with a command").expected.push(line.to_owned()),
        }
    }
    steps
}

/// Whether a printed line matches the document. In JSON, `…` matches any text. Elsewhere a word with a digit matches any word.
fn is_like(shown: &str, printed: &str) -> bool {
    if shown.starts_with('{') {
        let mut rest = printed;
        let mut pieces = shown.split('…').peekable();
        let mut is_first = true;
        while let Some(piece) = pieces.next() {
            let found = if pieces.peek().is_none() && !is_first {
                rest.ends_with(piece).then(|| rest.len() - piece.len())
            } else {
                rest.find(piece).filter(|at| !is_first || *at == 0)
            };
            let Some(at) = found else { return false };
            rest = &rest[at + piece.len()..];
            is_first = false;
        }
        return rest.is_empty();
    }
    let (shown, printed): (Vec<_>, Vec<_>) = (shown.split_whitespace().collect(), printed.split_whitespace().collect());
    let has_digit = |word: &str| word.bytes().any(|byte| byte.is_ascii_digit());
    let alike = |(shown, printed): (&&str, &&str)| shown == printed || (has_digit(shown) && has_digit(printed));
    shown.len() == printed.len() && shown.iter().zip(&printed).all(alike)
}

/// Asserts that a command printed what the document shows.
#[track_caller]
fn is_as_shown(Step { command, expected }: &Step, printed: &str) {
    let mut lines: Vec<&str> = printed.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    // How many steps of a refused deploy are printed before the refusal depends on time.
    if let [refusal] = expected.as_slice()
        && refusal.starts_with("comptoir: ")
    {
        lines.retain(|line| !line.starts_with("  "));
    }
    assert!(!lines.is_empty(), "`{command}` prints something");
    let is_as_shown = lines.len() == expected.len() && expected.iter().zip(&lines).all(|(a, b)| is_like(a, b));
    assert!(
        expected.is_empty() || is_as_shown,
        "`{command}` printed\n{printed}\nthe document shows\n{}",
        expected.join("\n")
    );
}

#[tokio::test]
async fn the_transcript_of_the_readme_is_what_a_newcomer_sees() {
    let readme = read("README.md");
    let folder = tempfile::tempdir().unwrap();
    let mut process = ShopProcess::spawn(folder.path());
    let host = process.serves().await.expect("the shop serves");
    // The next version of orders has the same code and an empty custom section named "v" (WebAssembly core specification, 5.5.3).
    let mut next = std::fs::read(component("orders")).unwrap();
    next.extend([0, 2, 1, b'v']);
    std::fs::write(folder.path().join("orders.wasm"), next).unwrap();

    let steps: Vec<Step> = blocks(&readme, "console").iter().flat_map(|block| steps(block)).collect();
    assert!(steps.len() > 5, "README has a transcript");
    let setup = blocks(&readme, "bash").concat().replace("http://127.0.0.1:8000", &host.gateway);
    let mut script = format!("{PRELUDE}{setup}");
    for Step { command, .. } in &steps {
        script += &format!("echo; echo '<next>'; {command}\n");
    }
    let ran = Command::new("bash")
        .args(["-c", &script])
        .current_dir(folder.path())
        .env("program", program())
        .env("COMPTOIR_ADMIN", host.admin.trim_start_matches("http://"))
        .env("COMPTOIR_DATA", data(folder.path()))
        .output()
        .expect("bash runs");
    let (printed, complaints) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(complaints.is_empty(), "{complaints}");
    let printed: Vec<&str> = printed.split("<next>\n").skip(1).collect();
    assert_eq!(printed.len(), steps.len(), "each command ran");
    for (step, printed) in steps.iter().zip(printed) {
        is_as_shown(step, printed);
    }
}

#[test]
fn the_service_of_the_readme_is_one_that_the_tests_build() {
    let readme = read("README.md");
    let built = read("host/tests/guests/stateless/src/lib.rs");
    let (_, code) = built.split_once("\nuse kit").expect("the guest uses the kit");
    assert_eq!(blocks(&readme, "rust"), [format!("use kit{code}")]);
    let listeners = "[listeners]\ngateway = \"127.0.0.1:8000\"\nadmin = \"127.0.0.1:8010\"\n";
    for table in blocks(&readme, "toml") {
        Manifest::parse(Path::new("comptoir.toml"), &format!("{listeners}{table}")).unwrap();
    }
}

/// The output of `--help` for a command.
fn help(words: &[&str]) -> String {
    let ran = Command::new(program()).args(words).arg("--help").output().expect("the program runs");
    assert!(ran.status.success(), "there is no `comptoir {}`", words.join(" "));
    String::from_utf8(ran.stdout).unwrap()
}

/// The `comptoir` commands of a document, in code blocks and in backticks.
///
/// Options in a row of a table belong to the row's command. A name in capitals stands for any command.
fn commands(document: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in document.lines() {
        let line = line.trim_start().trim_start_matches("$ ").replace("./comptoir", "comptoir");
        if line.starts_with("comptoir ") {
            found.push(line);
        } else if line.starts_with("| `comptoir ") {
            found.push(line.replace(['`', '|', ',', '.'], " ").trim().to_owned());
        } else {
            let quoted = line.split('`').skip(1).step_by(2).filter(|text| text.starts_with("comptoir "));
            found.extend(quoted.map(str::to_owned));
        }
    }
    found.retain(|command| !command["comptoir ".len()..].starts_with(char::is_uppercase));
    found
}

#[test]
fn every_command_and_option_that_a_document_names_exists() {
    let documents =
        ["README.md", "SECURITY.md", "components/README.md", "host/docs/architecture.md", "host/docs/operating.md"];
    let mut helps = BTreeMap::new();
    let mut checked = 0;
    for document in documents {
        for command in commands(&read(document)) {
            let words: Vec<&str> =
                command.split_whitespace().skip(1).take_while(|word| !word.starts_with('#')).collect();
            let is_nested =
                matches!(words[..], ["audit" | "keys", second, ..] if !second.starts_with('-') && second.is_ascii());
            let is_keys_alone = is_nested && words[0] == "keys" && !matches!(words[1], "rotate" | "disable");
            let length = if is_nested && !is_keys_alone { 2 } else { 1 };
            let name = words[..length.min(words.len())].iter().filter(|word| !word.starts_with('-')).copied();
            let name: Vec<&str> = name.collect();
            let help = helps.entry(name.join(" ")).or_insert_with(|| help(&name));
            for option in words.iter().filter(|word| word.starts_with("--")) {
                assert!(help.contains(option), "{document}: `comptoir {}` has no {option}: {command}", name.join(" "));
            }
            checked += 1;
        }
    }
    assert!(checked > 20, "the documents name commands");
}

#[test]
fn no_document_exceeds_its_lines() {
    let limits = [
        ("README.md", 150),
        ("components/README.md", 260),
        ("host/docs/architecture.md", 300),
        ("host/docs/operating.md", 350),
        ("host/docs/glossary.md", 60),
    ];
    for (document, limit) in limits {
        let lines = read(document).lines().count();
        assert!(
            lines <= limit,
            "{document} has {lines} lines, and at most {limit} are allowed: remove what others say"
        );
    }
}
