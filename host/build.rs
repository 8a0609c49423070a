//! Records the versions of wasmtime and of the Rust compiler, which no crate exposes at run time.

use std::process::Command;

fn main() {
    // That of the workspace, or that of a published package.
    let lock = ["../Cargo.lock", "Cargo.lock"].into_iter().find(|file| std::path::Path::new(file).exists());
    let lock = lock.expect("the workspace or the package has a Cargo.lock");
    println!("cargo::rerun-if-changed={lock}");
    let lock = std::fs::read_to_string(lock).expect("Cargo.lock is readable");
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
