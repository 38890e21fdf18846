//! Reads JSON: every byte is looked at once, depth and length are bounded, a key stands once.

use super::{CanonError, Fault, Json, MAX_DEPTH, MAX_VALUES};

/// Reads one JSON document.
pub(super) fn document(text: &str) -> Result<Json, CanonError> {
    let mut reader =
        Reader { text, bytes: text.as_bytes(), at: 0, depth: 0, values: 0, items: Vec::new(), members: Vec::new() };
    reader.space();
    let value = reader.value()?;
    reader.space();
    if reader.at < text.len() { Err(reader.fail(Fault::Trailing)) } else { Ok(value) }
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    values: usize,
    /// What was read of arrays and objects that have not ended: each takes its own from the end, in a room of just its size.
    items: Vec<Json>,
    members: Vec<(String, Json)>,
}

impl Reader<'_> {
    fn fail(&self, kind: Fault) -> CanonError {
        CanonError { at: self.at, kind }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &str) -> Result<(), CanonError> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.fail(Fault::Syntax));
        }
        self.at += word.len();
        Ok(())
    }

    fn value(&mut self) -> Result<Json, CanonError> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(self.fail(Fault::TooMany));
        }
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => self.string().map(Json::String),
            Some(b't') => self.word("true").map(|()| Json::Bool(true)),
            Some(b'f') => self.word("false").map(|()| Json::Bool(false)),
            Some(b'n') => self.word("null").map(|()| Json::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.fail(Fault::Syntax)),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Json, CanonError>) -> Result<Json, CanonError> {
        if self.depth == MAX_DEPTH {
            return Err(self.fail(Fault::TooDeep));
        }
        self.depth += 1;
        self.at += 1;
        self.space();
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn array(&mut self) -> Result<Json, CanonError> {
        let first = self.items.len();
        let mut ended = self.is_empty(b']');
        while !ended {
            let value = self.value()?;
            self.items.push(value);
            ended = self.ends(b']')?;
        }
        Ok(Json::Array(self.items.drain(first..).collect()))
    }

    fn object(&mut self) -> Result<Json, CanonError> {
        let first = self.members.len();
        let mut keys = Keys::default();
        let mut ended = self.is_empty(b'}');
        while !ended {
            let at = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.fail(Fault::Syntax));
            }
            let key = self.string()?;
            if !keys.add(&self.members[first..], &key) {
                return Err(CanonError { at, kind: Fault::DuplicateKey });
            }
            self.space();
            self.word(":")?;
            self.space();
            let value = self.value()?;
            self.members.push((key, value));
            ended = self.ends(b'}')?;
        }
        Ok(Json::Object(self.members.drain(first..).collect()))
    }

    fn is_empty(&mut self, close: u8) -> bool {
        let empty = self.peek() == Some(close);
        self.at += usize::from(empty);
        empty
    }

    fn ends(&mut self, close: u8) -> Result<bool, CanonError> {
        self.space();
        let byte = self.peek();
        if byte != Some(b',') && byte != Some(close) {
            return Err(self.fail(Fault::Syntax));
        }
        self.at += 1;
        self.space();
        Ok(byte == Some(close))
    }

    fn number(&mut self) -> Result<Json, CanonError> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(Json::Number(self.text[start..self.at].into()))
    }

    fn digits(&mut self) -> Result<(), CanonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.fail(Fault::Syntax)) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<String, CanonError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let start = self.at;
            while self.peek().is_some_and(|b| b != b'"' && b != b'\\' && b >= 0x20) {
                self.at += 1;
            }
            out.push_str(&self.text[start..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                _ => return Err(self.fail(Fault::Syntax)),
            }
        }
    }

    fn escape(&mut self) -> Result<char, CanonError> {
        let letter = self.bytes.get(self.at + 1).copied();
        self.at += 2;
        Ok(match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.fail(Fault::Syntax)),
        })
    }

    fn unicode(&mut self) -> Result<char, CanonError> {
        let high = self.hex4()?;
        let code = if (0xd800..0xdc00).contains(&high) {
            self.word("\\u").map_err(|e| CanonError { kind: Fault::Surrogate, ..e })?;
            let low = self.hex4()?;
            if !(0xdc00..0xe000).contains(&low) {
                return Err(self.fail(Fault::Surrogate));
            }
            0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
        } else {
            high
        };
        char::from_u32(code).ok_or_else(|| self.fail(Fault::Surrogate))
    }

    fn hex4(&mut self) -> Result<u32, CanonError> {
        let digits = self.bytes.get(self.at..self.at + 4).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let text = digits.and_then(|d| std::str::from_utf8(d).ok());
        let code = text.and_then(|t| u32::from_str_radix(t, 16).ok());
        self.at += 4;
        code.ok_or_else(|| self.fail(Fault::Syntax))
    }
}

/// Finds duplicate keys: by looking back while an object is small, by a set once it is large, so that a
/// hostile object with a million keys costs no square.
#[derive(Default)]
struct Keys {
    seen: std::collections::HashSet<String>,
}

impl Keys {
    fn add(&mut self, members: &[(String, Json)], key: &str) -> bool {
        const SMALL: usize = 32;
        if members.len() < SMALL {
            return members.iter().all(|(k, _)| k != key);
        }
        if self.seen.is_empty() {
            self.seen.extend(members.iter().map(|(k, _)| k.clone()));
        }
        self.seen.insert(key.to_owned())
    }
}
