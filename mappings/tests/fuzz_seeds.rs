//! The laws of `fuzz/` for the parser and the maps, held on their seeds: our own cases, and what the fuzzer once found.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "../../fuzz/src/hl7_parse.rs"]
mod hl7_parse;
#[path = "../../fuzz/src/map_message.rs"]
mod map_message;

use std::path::Path;

/// Shows each file below a folder, and counts them.
fn each(folder: &str, hold: impl Fn(&[u8])) -> usize {
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut count = 0;
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().flatten().map(|entry| entry.path()));
        } else if path.extension().is_some_and(|e| e == "hl7") {
            println!("{}", path.display());
            hold(&std::fs::read(path).unwrap());
            count += 1;
        }
    }
    count
}

#[test]
fn the_parser_loses_nothing() {
    assert!(each("cases", hl7_parse::hold) > 100);
    assert!(each("../fuzz/seeds", hl7_parse::hold) > 0);
}

#[test]
fn every_bundle_is_whole() {
    assert!(each("cases", map_message::hold) > 100);
    assert!(each("../fuzz/seeds", map_message::hold) > 0);
}
