//! gzip (RFC 9110 section 8.4) on the way in and out. What comes in is bounded after it was unpacked, too.

use super::reply::Reply;
use super::routes::BadBody;
use crate::limits::MAX_BODY_BYTES;
use bytes::Bytes;
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use std::io::{Read, Write};
use warp::http::{HeaderMap, HeaderValue, header};

/// Answers below this are sent as they are: gzip would save no packet.
const MIN_BYTES: usize = 1_024;
/// Answers above this are packed beside the network threads.
const LARGE_BYTES: usize = 64 << 10;

/// A body as it was before it was packed.
pub async fn unpacked(headers: &HeaderMap, body: Bytes) -> Result<Bytes, BadBody> {
    match headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase()).as_deref() {
        None | Some(b"" | b"identity") => Ok(body),
        Some(b"gzip" | b"x-gzip") => {
            tokio::task::spawn_blocking(move || unpack(&body)).await.unwrap_or(Err(BadBody::Broken))
        }
        Some(_) => Err(BadBody::Encoding),
    }
}

fn unpack(body: &[u8]) -> Result<Bytes, BadBody> {
    let mut out = Vec::new();
    // One byte more than is taken: a bomb is not unpacked any further.
    let mut reader = MultiGzDecoder::new(body).take(MAX_BODY_BYTES as u64 + 1);
    reader.read_to_end(&mut out).map_err(|_| BadBody::Broken)?;
    if out.len() > MAX_BODY_BYTES { Err(BadBody::TooLong) } else { Ok(out.into()) }
}

/// The answer packed, where the client takes that and it is worth it.
pub async fn packed(accept: Option<HeaderValue>, mut reply: Reply) -> Reply {
    if reply.body().len() < MIN_BYTES || !is_text(&reply) {
        return reply;
    }
    reply.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
    if !accept.as_ref().and_then(|value| value.to_str().ok()).is_some_and(takes_gzip) {
        return reply;
    }
    let body = reply.body().clone();
    let done = if body.len() < LARGE_BYTES {
        pack(&body)
    } else {
        tokio::task::spawn_blocking(move || pack(&body)).await.unwrap_or(None)
    };
    if let Some(bytes) = done {
        *reply.body_mut() = bytes;
        reply.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    reply
}

fn pack(body: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

fn is_text(reply: &Reply) -> bool {
    let media = reply.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    ["json", "text/", "yaml"].iter().any(|kind| media.contains(kind))
}

/// `gzip` by name or by `*`, unless its weight is none.
fn takes_gzip(accept: &str) -> bool {
    let codings: Vec<(String, bool)> = accept.split(',').map(coding).collect();
    let named = |name: &str| codings.iter().find(|(coding, _)| coding == name).map(|(_, wanted)| *wanted);
    named("gzip").or_else(|| named("*")).unwrap_or(false)
}

fn coding(text: &str) -> (String, bool) {
    let (name, weight) = text.split_once(';').unwrap_or((text, ""));
    let weight = weight.trim().strip_prefix("q=").map_or(1.0, |weight| weight.trim().parse().unwrap_or(0.0));
    (name.trim().to_ascii_lowercase(), weight > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_and_a_bomb_is_not() {
        let text = "x".repeat(5_000);
        assert_eq!(unpack(&pack(text.as_bytes()).unwrap()).unwrap(), text.as_bytes());
        let bomb = pack(&vec![0; MAX_BODY_BYTES + 1]).unwrap();
        assert!(bomb.len() < MAX_BODY_BYTES / 100);
        assert_eq!(unpack(&bomb), Err(BadBody::TooLong));
        assert_eq!(unpack(b"plain"), Err(BadBody::Broken));
    }

    #[test]
    fn weights_count() {
        for (accept, expected) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("*", true),
            ("gzip;q=0, *", false),
            ("br", false),
        ] {
            assert_eq!(takes_gzip(accept), expected, "{accept}");
        }
    }
}
