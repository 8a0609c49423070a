//! Records the versions of wasmtime and of the Rust compiler, which no crate exposes at run time.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=../Cargo.lock");
    let lock = std::fs::read_to_string("../Cargo.lock").expect("the workspace has a Cargo.lock");
    let wasmtime = lock.split("[[package]]").find_map(|package| {
        let version = package.trim_start().strip_prefix("name = \"wasmtime\"\nversion = \"")?;
        version.split('"').next()
    });
    println!("cargo::rustc-env=WASMTIME_VERSION={}", wasmtime.expect("Cargo.lock contains wasmtime"));
    let compiler = std::env::var_os("RUSTC").expect("cargo sets RUSTC");
    let said = Command::new(compiler).arg("--version").output().expect("rustc runs");
    let said = String::from_utf8(said.stdout).expect("rustc prints UTF-8");
    println!(
        "cargo::rustc-env=RUSTC_VERSION={}",
        said.split_whitespace().nth(1).expect("rustc prints its name and then its version")
    );
}
