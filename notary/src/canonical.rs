//! `medseal-canon/1`: one byte form for each JSON value. UTF-8, no white space, object keys in the order of their
//! UTF-16 code units and string escapes as in JCS (RFC 8785), but **number lexemes verbatim**: in
//! FHIR `1.00` and `1.0` are two values (R4 2.24.0.1, decimal). Duplicate keys are refused, depth and size
//! bounded.

mod read;

use std::fmt;

/// The deepest nesting that is read. FHIR resources stay under 30; more is an attack on the stack.
pub const MAX_DEPTH: usize = 100;
/// The longest document, in bytes: a Bundle with scanned documents fits.
pub const MAX_BYTES: usize = 64 << 20;

/// The most values in one document: each takes some dozen bytes of memory, however short it stands in the text. The largest
/// patients of Synthea have about 400,000.
pub const MAX_VALUES: usize = 2_000_000;

/// A JSON value that keeps the digits of its numbers and the order of its keys.
#[derive(Clone, PartialEq, Eq)]
pub enum Json {
    Null,
    Bool(bool),
    /// The lexeme as it stood.
    Number(Box<str>),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Why a text is not JSON that has a canonical form. Carries no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {at}")]
pub struct CanonError {
    pub at: usize,
    pub kind: Fault,
}

/// The kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("not JSON")]
    Syntax,
    #[error("a key stands twice in one object")]
    DuplicateKey,
    #[error("nested deeper than {MAX_DEPTH}")]
    TooDeep,
    #[error("longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("more than {MAX_VALUES} values")]
    TooMany,
    #[error("not UTF-8")]
    Encoding,
    #[error("half a surrogate pair")]
    Surrogate,
    #[error("something follows the value")]
    Trailing,
}

impl fmt::Debug for Json {
    /// JSON here is patient data: its shape prints, its content does not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        })
    }
}

impl Json {
    /// Reads one JSON document.
    pub fn parse(bytes: &[u8]) -> Result<Self, CanonError> {
        if bytes.len() > MAX_BYTES {
            return Err(CanonError { at: MAX_BYTES, kind: Fault::TooLong });
        }
        let text = std::str::from_utf8(bytes).map_err(|e| CanonError { at: e.valid_up_to(), kind: Fault::Encoding })?;
        read::document(text)
    }

    /// The canonical bytes.
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        self.write(&mut out, true);
        out
    }

    /// The same value with keys in their own order, for people.
    pub fn compact(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        self.write(&mut out, false);
        out
    }

    /// The member of that name, if this is an object that has it.
    pub fn get(&self, name: &str) -> Option<&Json> {
        match self {
            Self::Object(members) => members.iter().find(|(key, _)| key == name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The member of that name, to change.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Json> {
        match self {
            Self::Object(members) => members.iter_mut().find(|(key, _)| key == name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// Sets a member of an object; on anything else it does nothing.
    pub fn set(&mut self, name: &str, value: Json) {
        if let Some(old) = self.get_mut(name) {
            *old = value;
        } else if let Self::Object(members) = self {
            members.push((name.to_owned(), value));
        }
    }

    /// Takes a member out of an object.
    pub fn remove(&mut self, name: &str) -> Option<Json> {
        let Self::Object(members) = self else { return None };
        let at = members.iter().position(|(key, _)| key == name)?;
        Some(members.remove(at).1)
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The text of a string member.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// The items of an array; none of anything else.
    pub fn items(&self) -> &[Json] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }

    /// The members of an object; none of anything else.
    pub fn members(&self) -> &[(String, Json)] {
        match self {
            Self::Object(members) => members,
            _ => &[],
        }
    }

    fn write(&self, out: &mut Vec<u8>, sorted: bool) {
        match self {
            Self::Null => out.extend(b"null"),
            Self::Bool(true) => out.extend(b"true"),
            Self::Bool(false) => out.extend(b"false"),
            Self::Number(lexeme) => out.extend(lexeme.as_bytes()),
            Self::String(text) => write_string(text, out),
            Self::Array(items) => {
                out.push(b'[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        out.push(b',');
                    }
                    item.write(out, sorted);
                }
                out.push(b']');
            }
            Self::Object(members) => write_object(members, out, sorted),
        }
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<serde_json::Value> for Json {
    fn from(value: serde_json::Value) -> Self {
        use serde_json::Value;
        match value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(b),
            Value::Number(n) => Self::Number(n.to_string().into()),
            Value::String(text) => Self::String(text),
            Value::Array(items) => Self::Array(items.into_iter().map(Self::from).collect()),
            Value::Object(map) => Self::Object(map.into_iter().map(|(k, v)| (k, Self::from(v))).collect()),
        }
    }
}

fn write_object(members: &[(String, Json)], out: &mut Vec<u8>, sorted: bool) {
    let mut order: Vec<&(String, Json)> = members.iter().collect();
    if sorted {
        order.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
    }
    out.push(b'{');
    for (n, (key, value)) in order.into_iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write_string(key, out);
        out.push(b':');
        value.write(out, sorted);
    }
    out.push(b'}');
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            0x08 => b"\\b",
            b'\t' => b"\\t",
            b'\n' => b"\\n",
            0x0c => b"\\f",
            b'\r' => b"\\r",
            0..=0x1f => b"",
            _ => continue,
        };
        out.extend(&text.as_bytes()[plain..at]);
        if escape.is_empty() {
            out.extend(format!("\\u{byte:04x}").as_bytes());
        } else {
            out.extend(escape);
        }
        plain = at + 1;
    }
    out.extend(&text.as_bytes()[plain..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_values_in_few_bytes_are_refused() {
        let list = |count: usize| format!("[{}1]", "1,".repeat(count - 1));
        assert!(Json::parse(list(MAX_VALUES - 1).as_bytes()).is_ok());
        assert_eq!(Json::parse(list(MAX_VALUES).as_bytes()).unwrap_err().kind, Fault::TooMany);
    }
    use proptest::prelude::*;

    fn canon(text: &str) -> String {
        String::from_utf8(Json::parse(text.as_bytes()).unwrap().canonical()).unwrap()
    }

    #[test]
    fn the_vectors_hold() {
        let file: serde_json::Value = serde_json::from_str(include_str!("../vectors/canonical.json")).unwrap();
        for case in file["valid"].as_array().unwrap() {
            assert_eq!(canon(case["input"].as_str().unwrap()), case["canonical"].as_str().unwrap());
        }
        for case in file["refused"].as_array().unwrap() {
            let error = Json::parse(case["input"].as_str().unwrap().as_bytes()).unwrap_err();
            assert_eq!(error.kind.to_string(), case["error"].as_str().unwrap(), "{case}");
        }
    }

    #[test]
    fn depth_and_encoding_are_bounded() {
        let deep = "[".repeat(100_000);
        assert_eq!(Json::parse(deep.as_bytes()).unwrap_err().kind, Fault::TooDeep);
        assert_eq!(Json::parse(b"\"\xff\"").unwrap_err().kind, Fault::Encoding);
        let many: String = (0..200).map(|n| format!("\"k{n}\":1,")).collect();
        assert!(Json::parse(format!("{{{many}\"z\":1}}").as_bytes()).is_ok());
        let twice = format!("{{{many}\"k150\":1}}");
        assert_eq!(Json::parse(twice.as_bytes()).unwrap_err().kind, Fault::DuplicateKey);
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::Bool),
            "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,10})?([eE][+-]?[0-9]{1,3})?".prop_map(|n| Json::Number(n.into())),
            "\\PC{0,8}|[\\x00-\\x1f\"\\\\]{0,4}".prop_map(Json::String),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Json::Array),
                prop::collection::btree_map("\\PC{0,4}", inner, 0..6)
                    .prop_map(|m| Json::Object(m.into_iter().collect())),
            ]
        })
    }

    fn shuffled(json: &Json) -> Json {
        match json {
            Json::Array(items) => Json::Array(items.iter().map(shuffled).collect()),
            Json::Object(members) => {
                Json::Object(members.iter().rev().map(|(k, v)| (k.clone(), shuffled(v))).collect())
            }
            other => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn the_same_value_has_the_same_bytes(json in any_json()) {
            let bytes = json.canonical();
            prop_assert_eq!(&shuffled(&json).canonical(), &bytes);
            let again = Json::parse(&bytes).unwrap();
            prop_assert_eq!(again.canonical(), bytes);
            prop_assert_eq!(Json::parse(&json.compact()).unwrap(), json);
        }

        #[test]
        fn any_bytes_parse_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Json::parse(&bytes);
        }

        #[test]
        fn accepts_exactly_what_serde_json_accepts(text in "[\\[\\]{}:,\"a0-9.eE+ -]{0,24}") {
            let serde = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            let ours = Json::parse(text.as_bytes());
            let duplicate = matches!(&ours, Err(e) if e.kind == Fault::DuplicateKey);
            prop_assert!(ours.is_ok() == serde || duplicate, "{}", text);
        }
    }
}
