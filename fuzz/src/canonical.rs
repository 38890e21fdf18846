//! The canonical form: it is its own canonical form, keeps every digit, and says the same as what it was made of.

use notary::canonical::Json;

/// Holds for any bytes.
pub fn hold(bytes: &[u8]) {
    let Ok(json) = Json::parse(bytes) else { return };
    let canonical = json.canonical();
    let again = Json::parse(&canonical).expect("the canonical form is JSON");
    assert!(again.canonical() == canonical, "the canonical form is not its own");
    let compact = json.compact();
    assert!(Json::parse(&compact).as_ref() == Ok(&json), "the compact form says something else");
    assert_eq!(compact.len(), canonical.len(), "only the order of keys may differ");
    is_json_for_others(bytes, &canonical);
}

/// serde_json reads the same value out of both. It takes no lone surrogate and no document deeper than 128; ours neither.
fn is_json_for_others(bytes: &[u8], canonical: &[u8]) {
    let sent: serde_json::Value = serde_json::from_slice(bytes).expect("what we take is JSON for others");
    let ours: serde_json::Value = serde_json::from_slice(canonical).expect("what we write is JSON for others");
    assert!(sent == ours, "another reader sees another value");
}
