//! The maps and their schemas are built into the library: when one of them changes, it is built again.

fn main() {
    println!("cargo:rerun-if-changed=maps");
    println!("cargo:rerun-if-changed=schema");
}
