//! Writes resources out of the arena as JSON text, once, and tells where each leaf came from.

use crate::r4;
use crate::tree::{Id, Reason, Shape, Tree};

impl Tree<'_> {
    /// Writes a resource; `link` writes the reference to a draft, without quotes.
    pub fn write_resource(&self, root: Id, out: &mut Vec<u8>, link: &impl Fn(usize, &mut Vec<u8>)) {
        out.extend_from_slice(b"{\"resourceType\":\"");
        out.extend_from_slice(r4::model().at(self.kind(root)).name.as_bytes());
        out.push(b'"');
        for child in self.children(root) {
            out.push(b',');
            self.write_field(child, out, link);
        }
        out.push(b'}');
    }

    /// `"name":value`, and the `"_name"` of a primitive's extensions behind it.
    fn write_field(&self, id: Id, out: &mut Vec<u8>, link: &impl Fn(usize, &mut Vec<u8>)) {
        let name = self.name(id).quoted();
        let is_valued = self.is_valued(id);
        if is_valued {
            out.extend_from_slice(name.as_bytes());
            self.write_value(id, out, link);
        }
        if self.is_extended(id) {
            if is_valued {
                out.push(b',');
            }
            out.extend_from_slice(b"\"_");
            out.extend_from_slice(&name.as_bytes()[1..]);
            match self.shape(id) {
                Shape::Array => self.write_list(id, out, &|item, out| self.write_extensions(item, out, link)),
                _ => self.write_extensions(id, out, link),
            }
        }
    }

    /// Whether there is a value, in a list at least one: extensions alone stand in `_name`, and a list of nulls is none.
    fn is_valued(&self, id: Id) -> bool {
        match self.shape(id) {
            Shape::Empty => false,
            Shape::Array => self.children(id).any(|item| self.shape(item) != Shape::Empty),
            _ => true,
        }
    }

    /// Whether it is a primitive with extensions, or a list that has one.
    fn is_extended(&self, id: Id) -> bool {
        match self.shape(id) {
            Shape::Object => false,
            Shape::Array => self.children(id).any(|item| {
                !matches!(self.shape(item), Shape::Object | Shape::Array) && self.children(item).next().is_some()
            }),
            _ => self.has_children(id) && self.children(id).next().is_some(),
        }
    }

    fn write_extensions(&self, id: Id, out: &mut Vec<u8>, link: &impl Fn(usize, &mut Vec<u8>)) {
        match self.children(id).next() {
            Some(_) => self.write_object(id, out, link),
            None => out.extend_from_slice(b"null"),
        }
    }

    fn write_value(&self, id: Id, out: &mut Vec<u8>, link: &impl Fn(usize, &mut Vec<u8>)) {
        match self.shape(id) {
            Shape::Object => self.write_object(id, out, link),
            Shape::Array => self.write_list(id, out, &|item, out| self.write_value(item, out, link)),
            Shape::Constant => out.extend_from_slice(self.constant(id).json.as_bytes()),
            Shape::True => out.extend_from_slice(b"true"),
            Shape::False => out.extend_from_slice(b"false"),
            Shape::SentNumber | Shape::OwnNumber => out.extend_from_slice(self.text(id).unwrap_or("0").as_bytes()),
            Shape::Sent | Shape::Own => write_text(self.text(id).unwrap_or(""), out),
            Shape::Link => {
                out.push(b'"');
                link(self.link(id).unwrap_or(0), out);
                out.push(b'"');
            }
            Shape::Empty | Shape::Dead | Shape::Held => out.extend_from_slice(b"null"),
        }
    }

    fn write_object(&self, id: Id, out: &mut Vec<u8>, link: &impl Fn(usize, &mut Vec<u8>)) {
        out.push(b'{');
        for (n, child) in self.children(id).enumerate() {
            if n > 0 {
                out.push(b',');
            }
            self.write_field(child, out, link);
        }
        out.push(b'}');
    }

    fn write_list(&self, id: Id, out: &mut Vec<u8>, write: &dyn Fn(Id, &mut Vec<u8>)) {
        out.push(b'[');
        for (n, item) in self.children(id).enumerate() {
            if n > 0 {
                out.push(b',');
            }
            write(item, out);
        }
        out.push(b']');
    }

    /// Shows each leaf below a node with its FHIRPath, such as `Patient.name[0].given[1]`.
    pub fn leaves(&self, id: Id, path: &mut String, see: &mut dyn FnMut(&str, Reason)) {
        if let Some(reason) = self.reason(id) {
            see(path, reason);
        }
        let is_list = self.shape(id) == Shape::Array;
        let length = path.len();
        for (n, child) in self.children(id).enumerate() {
            match is_list {
                true => path.push_str(&format!("[{n}]")),
                false => path.push_str(&format!(".{}", self.name(child).text())),
            }
            self.leaves(child, path, see);
            path.truncate(length);
        }
    }
}

/// Writes a JSON string (RFC 8259 section 7).
pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    if !bytes.iter().fold(false, |any, byte| any | is_escaped(*byte)) {
        out.extend_from_slice(bytes);
    } else {
        write_escaped(bytes, out);
    }
    out.push(b'"');
}

fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn write_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    let mut from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if !is_escaped(byte) {
            continue;
        }
        out.extend_from_slice(&bytes[from..at]);
        from = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
    }
    out.extend_from_slice(&bytes[from..]);
}
