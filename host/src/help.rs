//! `--help`: the commands by what they are for, and examples.

use clap::Command;
use clap::builder::StyledStr;

use crate::output::{HEADING, styled};

/// The commands by what they are for, in the order in which `--help` lists them.
pub(crate) const GROUPS: [(&str, &[&str]); 6] = [
    ("Write a service", &["new", "dev", "check", "inspect", "doctor", "token"]),
    ("Serve", &["serve", "reload"]),
    ("Look at a running host", &["status", "logs", "history"]),
    ("Change a running host", &["deploy", "deploy-set", "canary", "promote", "abort", "rollback"]),
    ("Keep it safe", &["sign", "keys", "audit", "backup", "restore"]),
    ("Shell", &["completions"]),
];

/// Examples, by command. The last one is for the program itself.
const EXAMPLES: [(&str, &str); 15] = [
    ("new", "comptoir new todo\ncomptoir new todo --lang python"),
    (
        "serve",
        "comptoir serve\ncomptoir serve --log requests               # on a terminal, too, a line for each request\ncomptoir serve --log warn,comptoir=debug --log-format json",
    ),
    ("dev", "comptoir dev\ncomptoir dev --recreate todo               # begin with an empty database"),
    ("check", "comptoir check --manifest shop.toml"),
    ("inspect", "comptoir inspect todo.wasm"),
    (
        "deploy",
        "comptoir deploy orders orders.wasm --reason 'cheaper shipping'\ncomptoir deploy orders orders.wasm --canary 5%",
    ),
    ("deploy-set", "comptoir deploy-set user=user.wasm orders=orders.wasm"),
    ("canary", "comptoir canary 20%\ncomptoir canary --watch"),
    ("rollback", "comptoir rollback orders\ncomptoir rollback orders --to 1e2596c382a8"),
    ("history", "comptoir history orders\ncomptoir history orders --json"),
    ("status", "comptoir status\ncomptoir status orders --watch"),
    ("logs", "comptoir logs\ncomptoir logs --follow --service orders --status 5xx"),
    ("keys", "comptoir keys rotate\ncomptoir keys disable 0123456789abcdef"),
    ("sign", "comptoir sign --new-key shop.key\ncomptoir sign orders.wasm --service orders --key shop.key"),
    ("backup", "comptoir backup /backups"),
];

/// What a newcomer does first.
const FIRST: &str = "comptoir new todo && cd todo              # then follow README.md\ncomptoir serve                            # the nearest comptoir.toml\ncomptoir status --watch                   # in another terminal";

/// Puts the commands into groups, and adds examples.
pub(crate) fn arrange(command_line: Command) -> Command {
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}{}\n{{options}}{{after-help}}",
        groups(&command_line),
        styled(HEADING, "Options:")
    );
    let with_examples = |command_line: Command, (name, examples): (&'static str, &str)| {
        command_line.mut_subcommand(name, |command| command.after_help(shown(examples)))
    };
    let command_line = command_line.help_template(StyledStr::from(template)).after_help(shown(FIRST));
    EXAMPLES.into_iter().fold(command_line, with_examples)
}

fn shown(examples: &str) -> StyledStr {
    let lines: String = examples.lines().map(|line| format!("\n  {line}")).collect();
    StyledStr::from(format!("{}{lines}", styled(HEADING, "Examples:")))
}

/// The list of commands.
fn groups(command_line: &Command) -> String {
    let width = GROUPS.iter().flat_map(|(_, names)| *names).map(|name| name.len()).max().unwrap_or_default();
    let about = |name: &str| {
        let about = command_line.find_subcommand(name).and_then(Command::get_about);
        about.map_or_else(String::new, |about| first_sentence(&about.to_string()))
    };
    let group = |(heading, names): &(&str, &[&str])| {
        let lines: String = names.iter().map(|name| format!("  {name:<width$}  {}\n", about(name))).collect();
        format!("{}\n{lines}\n", styled(HEADING, format!("{heading}:")))
    };
    GROUPS.iter().map(group).collect()
}

fn first_sentence(text: &str) -> String {
    text.split_once(". ").map_or(text, |(first, _)| first).trim_end_matches('.').to_owned()
}
