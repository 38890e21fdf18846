//! The maps are built into the library: when one of them changes, it is built again.

fn main() {
    println!("cargo:rerun-if-changed=maps");
}
