//! Runs every command of the tutorials in `components/README.md`, and compares what the commands print.

use std::path::Path;
use std::process::{Command, Stdio};

use testing::built::{compiled, component_folder, program};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use super::{Step, is_as_shown, read, steps};

/// What a tutorial may take for granted, and ample time for a loaded machine.
///
/// The projects share a folder for built files, so that the libraries are compiled once. `just examples` has installed node's packages.
const PRELUDE: &str = r#"
comptoir() {
    command comptoir "$@" || return
    if [ "$1" = new ]; then
        mkdir -p "$built"
        ln -s "$built" "$2/target"
        sed -i '/^\[limits\]/,/^$/d; /^\[deploy\]/,/^$/d' "$2/comptoir.toml"
        printf '[deploy]\ncompile_time = "10m"\nwatch = "10m"\nprobe_time = "10m"\n[limits]\nmemory = "128 MiB"\ntime = "10m"\ncpu = "10m"\nqueue_time = "10m"\n' >> "$2/comptoir.toml"
    fi
}
npm() {
    if [ "$1" = install ]; then ln -s "$node_modules" node_modules; else command npm "$@"; fi
}
"#;

/// The block that starts the host. The others need it or come before it.
const SERVE: &str = "comptoir serve\n";

/// A fenced block: its language and its text.
type Block = (String, String);

/// The blocks of a section, in their order.
fn blocks(document: &str, heading: &str) -> Vec<Block> {
    let (_, section) = document.split_once(&format!("\n## {heading}\n")).expect("the section exists");
    let section = section.split("\n## ").next().unwrap_or_default();
    let fenced = section.split("```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'));
    fenced.map(|(language, text)| (language.to_owned(), text.to_owned())).collect()
}

/// A terminal of the reader.
struct Terminal<'t> {
    folder: &'t Path,
    script: String,
    steps: Vec<Step>,
}

impl<'t> Terminal<'t> {
    fn new(folder: &'t Path) -> Self {
        Self { folder, script: format!("exec 2>&1\nlog=$(mktemp -p \"$TMPDIR\")\n{PRELUDE}"), steps: Vec::new() }
    }

    /// Adds a block. Each command of a `bash` block must succeed; what it prints is shown only if it fails.
    fn add(&mut self, (language, text): &Block) {
        match language.as_str() {
            "bash" => {
                self.script +=
                    &format!("set -e\ntrap 'cat \"$log\"' EXIT\n{{\n{text}}} >\"$log\" 2>&1\nset +e\ntrap - EXIT\n");
            }
            "console" => {
                for step in steps(text) {
                    self.script += &format!("echo; echo '<next>'; {}\n", step.command);
                    self.steps.push(step);
                }
            }
            _ => {}
        }
    }

    fn environment(&self, command: &mut Command) {
        let path = std::env::join_paths(
            std::iter::once(program().parent().unwrap().to_owned())
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        command.current_dir(self.folder).env("PATH", path.unwrap()).env("TMPDIR", self.folder);
        let target = component_folder().join("../..");
        let tools = target.join("examples/tools");
        command.env("node_modules", tools.join("javascript/node_modules")).env("python", tools.join("python"));
        command.env("built", target.join("new"));
        command.env("CARGO_NET_OFFLINE", "true");
        for variable in ["CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS", "RUSTFLAGS", "CARGO_TARGET_DIR", "COMPTOIR_ADMIN"] {
            command.env_remove(variable);
        }
    }

    fn run(self) {
        let mut bash = Command::new("bash");
        self.environment(bash.args(["-c", &self.script]));
        let ran = bash.output().expect("bash runs");
        let printed = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success(), "a command of the tutorial fails:\n{printed}");
        let printed: Vec<&str> = printed.split("<next>\n").skip(1).collect();
        assert_eq!(printed.len(), self.steps.len(), "each command ran");
        for (step, printed) in self.steps.iter().zip(printed) {
            is_as_shown(step, printed);
        }
    }
}

/// Starts the host in the project's folder. Returns it with the address of its gateway.
async fn serve(project: &Path) -> (Child, String) {
    let mut host = tokio::process::Command::new(program());
    host.arg("serve").current_dir(project).env("COMPTOIR_CACHE", compiled()).env("COMPTOIR_LOG", "error");
    host.env("COMPTOIR_GATEWAY", "127.0.0.1:0").env("COMPTOIR_ADMIN", "127.0.0.1:0");
    let mut host = host.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("the program runs");
    let mut said = BufReader::new(host.stdout.take().unwrap()).lines();
    while let Some(line) = said.next_line().await.unwrap() {
        if let Some(gateway) = line.trim().strip_prefix("gateway") {
            return (host, gateway.trim().to_owned());
        }
    }
    panic!("the host of the tutorial does not serve")
}

/// Runs blocks in an empty folder: those before the one that serves there, the others in the project.
async fn follow(blocks: &[Block]) {
    let at = blocks.iter().position(|(_, text)| text == SERVE).expect("the tutorial starts a host");
    let folder = tempfile::tempdir().unwrap();
    let mut first = Terminal::new(folder.path());
    blocks[..at].iter().for_each(|block| first.add(block));
    first.run();

    let project = folder.path().join("todo");
    let (_host, gateway) = serve(&project).await;
    let mut second = Terminal::new(&project);
    for (language, text) in &blocks[at + 1..] {
        second.add(&(language.clone(), text.replace("http://127.0.0.1:8000", &gateway)));
    }
    second.run();
}

/// What the README of a project in Python says, with the compiler of the examples.
const PYTHON: [(&str, &str); 4] = [
    (
        "bash",
        "comptoir new todo --lang python\n\
         cd todo\n\
         ln -s \"$python\" .venv\n\
         .venv/bin/python -m unittest\n\
         .venv/bin/componentize-py --wit-path wit --world service-base componentize app --output todo.wasm\n",
    ),
    ("bash", SERVE),
    ("bash", "ada=\"authorization: Bearer $(comptoir token ada)\"\n"),
    (
        "console",
        "$ curl -s http://127.0.0.1:8000/todo --json '{\"text\":\"milk\"}' -H \"$ada\"\n\
         {\"success\":true,\"data\":{\"id\":1,\"owner\":\"ada\",\"text\":\"milk\"}}\n",
    ),
];

#[tokio::test]
#[ignore = "needs `just examples`"]
async fn a_project_in_python_is_tested_built_and_served() {
    follow(&PYTHON.map(|(language, text)| (language.to_owned(), text.to_owned()))).await;
}

#[tokio::test]
#[ignore = "needs `just examples`"]
async fn the_tutorial_in_javascript_does_what_it_says() {
    follow(&blocks(&read("components/README.md"), "Ten minutes in JavaScript")).await;
}

#[tokio::test]
async fn the_tutorial_in_rust_does_what_it_says() {
    follow(&blocks(&read("components/README.md"), "Ten minutes")).await;
}
