//! Records the versions of wasmtime and of the Rust compiler, which no crate exposes at run time. Takes Swagger UI out of its archive.

use std::fs;
use std::path::Path;
use std::process::Command;

fn main() {
    versions();
    swagger_ui();
}

/// Writes files of Swagger UI as gzip files. A zip archive holds the same compressed bytes (RFC 1952), so nothing is compressed here.
fn swagger_ui() {
    let out = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let archive = rawzip::ZipArchive::from_slice(utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED);
    let archive = archive.expect("the crate holds a zip archive");
    let mut entries = archive.entries();
    let mut written = 0;
    while let Some(entry) = entries.next_entry().expect("the archive is sound") {
        let path = entry.file_path().try_normalize().expect("a usual path").as_ref().to_owned();
        let Some((_, name @ ("swagger-ui-bundle.js" | "swagger-ui.css"))) = path.split_once("/dist/") else { continue };
        assert_eq!(entry.compression_method(), rawzip::CompressionMethod::DEFLATE, "{path}");
        let deflated = archive.get_entry(entry.wayfinder()).expect("the archive is whole");
        let length = u32::try_from(entry.uncompressed_size_hint()).expect("a small file");
        // Deflated, without a name, a time and a system.
        let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
        let packed = [&head, deflated.data(), &entry.crc32().to_le_bytes(), &length.to_le_bytes()].concat();
        fs::write(Path::new(&out).join(format!("{name}.gz")), packed).expect("OUT_DIR is writable");
        written += 1;
    }
    assert_eq!(written, 2, "the archive has both files");
}

fn versions() {
    // That of the workspace, or that of a published package.
    let lock = ["../Cargo.lock", "Cargo.lock"].into_iter().find(|file| Path::new(file).exists());
    let lock = lock.expect("the workspace or the package has a Cargo.lock");
    println!("cargo::rerun-if-changed={lock}");
    let lock = fs::read_to_string(lock).expect("Cargo.lock is readable");
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
