//! Page cursors. A next page needs the search and the place in it, and a URL must not tell what was searched for: the cursor
//! is sealed, and needs no memory on any replica. Pure.

use crate::ids::TypeName;
use crate::search::Position;
use crate::secret::{Key, NoRandomness, Random};
use crate::vault::seal::{open_bytes, seal_bytes};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// What a cursor holds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    kind: String,
    /// The search, as a query string.
    pub query: String,
    pub position: Position,
}

crate::redacted_debug!(Cursor);

const PURPOSE: &[u8] = b"medseal/v1/cursor";

impl Cursor {
    /// A cursor into a search over a type.
    pub fn new(kind: TypeName, query: String, position: Position) -> Self {
        Self { kind: kind.to_string(), query, position }
    }

    /// As it stands in a URL.
    pub fn seal(&self, key: &Key, random: Random<'_>) -> Result<String, NoRandomness> {
        // Strings and numbers only: serialisation cannot fail.
        let plain = serde_json::to_vec(self).unwrap_or_default();
        let sealed = seal_bytes(key, PURPOSE, &plain, random).map_err(|_| NoRandomness)?;
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Reads a cursor that this server made for a search over this type.
    pub fn open(text: &str, key: &Key, kind: TypeName) -> Option<Self> {
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let plain = open_bytes(key, PURPOSE, &sealed).ok()?;
        let cursor: Self = serde_json::from_slice(&plain).ok()?;
        (cursor.kind == kind.as_str()).then_some(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::system_random;

    #[test]
    fn a_cursor_opens_for_its_type_and_tells_nothing() {
        let kind = |name| TypeName::parse(name).unwrap();
        let position = Position { upto: 9, after: 3, total: Some(7) };
        let cursor = Cursor::new(kind("Patient"), "name=Vesely".into(), position);
        let key = Key::new([7; 32]);
        let text = cursor.seal(&key, &system_random).unwrap();
        assert!(Cursor::open(&text, &key, kind("Patient")).as_ref() == Some(&cursor));
        assert!(Cursor::open(&text, &key, kind("Observation")).is_none());
        assert!(Cursor::open(&text, &Key::new([8; 32]), kind("Patient")).is_none());
        assert!(Cursor::open(&text[1..], &key, kind("Patient")).is_none());
        assert!(!text.contains("Vesely"));
    }
}
