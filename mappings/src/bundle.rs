//! Drafts as a FHIR transaction Bundle: what an analyst looks at. The bridge takes the drafts themselves.

use crate::charset::Charset;
use crate::convert::without_controls;
use crate::engine::{Draft, Mapped, write_urn};
use crate::escape;
use crate::identity::Identity;
use crate::json::write_text;
use crate::parse::part;
use crate::time;

/// Writes the Bundle of a mapped message: a resource with a business identifier is a conditional update.
pub fn write_transaction(mapped: &Mapped<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"resourceType\":\"Bundle\",");
    write_header(mapped, out);
    out.extend_from_slice(b"\"type\":\"transaction\",\"entry\":[");
    for (n, draft) in mapped.drafts.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"fullUrl\":\"");
        write_urn(n, out);
        out.extend_from_slice(b"\",\"resource\":");
        mapped.write_json(draft, out);
        write_request(draft, out);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}

/// What MSH[Bundle] says of the message: MSH-10 identifies the Bundle, MSH-7 is its time.
fn write_header(mapped: &Mapped<'_>, out: &mut Vec<u8>) {
    let message = mapped.report.message;
    let control_id = without_controls(escape::decode(message.header(10), &message.separators(), Charset::Utf8));
    if !control_id.trim().is_empty() {
        out.extend_from_slice(b"\"identifier\":{\"value\":");
        write_text(control_id.trim(), out);
        out.extend_from_slice(b"},");
    }
    if let Ok((time, _)) = time::instant(part(message.header(7), Some(message.separators().component), 1), mapped.zone)
    {
        out.extend_from_slice(b"\"timestamp\":");
        write_text(&time, out);
        out.push(b',');
    }
}

/// The Bundle as text.
pub fn transaction(mapped: &Mapped<'_>) -> String {
    let mut out = Vec::with_capacity(mapped.tree.length());
    write_transaction(mapped, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

fn write_request(draft: &Draft, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"request\":{\"method\":");
    match &draft.identity {
        Some(Identity::Identifier { system: Some(system), value, .. }) => {
            let url = format!("{}?identifier={}|{}", draft.type_name, encoded(system), encoded(value));
            out.extend_from_slice(b"\"PUT\",\"url\":");
            write_text(&url, out);
        }
        _ => {
            out.extend_from_slice(b"\"POST\",\"url\":");
            write_text(draft.type_name, out);
        }
    }
    out.push(b'}');
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Context, map};
    use crate::maps::MapSet;
    use crate::parse::Message;

    #[test]
    fn a_control_id_of_blanks_is_none() {
        let set = MapSet::embedded().unwrap();
        let context = Context { charset: Charset::Utf8, zone: None, now: "2026-03-01T12:00:00.000Z" };
        for (sent, is_there) in [("7\\.br\\", true), ("\\.br\\", false), ("\u{8}", false)] {
            let text = format!("MSH|^~\\&|A||||||ACK^A01|{sent}|P|2.5\rMSA|AA|1\r");
            let message = Message::parse(&text).unwrap();
            let bundle = transaction(&map(&set, &message, &context).unwrap());
            assert_eq!(bundle.contains(r#""identifier":{"value":"7"}"#), is_there, "{bundle}");
        }
    }

    #[test]
    fn what_a_url_cannot_hold_is_encoded() {
        assert_eq!(encoded("urn:x y|a"), "urn:x%20y%7Ca");
    }
}
