//! MLLP framing: what comes out does not depend on how the bytes are split, and nothing exceeds the limit.

use super::frame::{Decoder, END, Event, encode};

/// The first byte chooses the limit, the second how the rest is cut.
pub fn hold(bytes: &[u8]) {
    let [limit, cut, stream @ ..] = bytes else { return };
    let limit = usize::from(*limit);
    let whole = events(std::iter::once(stream), limit);
    assert_eq!(events(stream.chunks(usize::from(*cut) + 1), limit), whole, "frames depend on how the bytes are split");
    assert_eq!(events(stream.chunks(1), limit), whole, "frames depend on how the bytes are split");
    for event in whole {
        if let Event::Frame(content) = event {
            assert!(content.len() <= limit, "a frame is longer than the limit");
            comes_back(content);
        }
    }
}

fn events<'s>(parts: impl Iterator<Item = &'s [u8]>, limit: usize) -> Vec<Event> {
    let mut decoder = Decoder::new(limit);
    let mut events = Vec::new();
    parts.for_each(|part| decoder.push(part, &mut events));
    events
}

/// Content that does not hold the end of a frame is decoded as it was encoded.
fn comes_back(content: Vec<u8>) {
    let limit = content.len();
    let is_plain = content.last() != Some(&END) && !content.windows(2).any(|pair| pair == [END, b'\r']);
    if is_plain {
        assert_eq!(events(std::iter::once(&*encode(&content)), limit), [Event::Frame(content)]);
    }
}
