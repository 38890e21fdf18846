//! What a message takes of memory while it is parsed, mapped and written, resource by resource. Allocations do not depend on
//! the machine, so that a test can hold a bound; the bench `memory` says it of the corpora.

#[path = "../benches/memory/peak.rs"]
mod peak;

use mappings::maps::MapSet;
use std::path::Path;

/// Sizes of the message. The mean over the corpora is below 20; these cases are shorter than those messages, and the
/// shorter a message, the more what every message makes weighs.
const BOUND: f64 = 38.0;
/// The same with the whole Bundle held as text.
const WITH_BUNDLE: f64 = 75.0;
/// Below this, what every message makes (a MessageHeader, a Provenance, ...) is more than its own content.
const SMALL: usize = 1_500;

#[test]
fn a_message_takes_a_bounded_multiple_of_its_size() {
    let set = MapSet::embedded().unwrap();
    let folders = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")).unwrap().flatten();
    let cases = folders.flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten()).map(|case| case.path());
    let mut count = 0;
    for case in cases.filter(|case| case.extension().is_some_and(|e| e == "hl7")) {
        let text = std::fs::read_to_string(&case).unwrap();
        let Some(times) = peak::times(&set, &text).filter(|_| text.len() >= SMALL) else { continue };
        count += 1;
        assert!(times.one_by_one < BOUND && times.bundle < WITH_BUNDLE, "{times:?}: {}", case.display());
    }
    assert!(count >= 15, "{count}");
}
