//! Compiles the component again if a page is added.

fn main() {
    println!("cargo:rerun-if-changed=pages");
}
