//! MLLP framing (HL7 v2 transport specification, MLLP release 2): 0x0B, content, 0x1C 0x0D. Pure: bytes in, frames out, however
//! the stream was cut. Linear in what arrives, and bounded.

/// Start of a block.
pub const START: u8 = 0x0b;
/// End of a block; a carriage return follows.
pub const END: u8 = 0x1c;
const CR: u8 = b'\r';

/// What came out of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Frame(Vec<u8>),
    /// The content of a frame exceeded the limit; it was cut off, and the stream goes on behind it.
    TooLong,
    /// Bytes between frames that are not MLLP, told once for each run of them.
    Garbage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Between,
    /// Bytes that are no frame were told already.
    Garbage,
    Inside,
    /// END came; CR ends the frame, anything else is content.
    Ending,
    /// Over the limit: content is dropped until the end.
    Skipping,
    SkippingEnd,
}

/// Takes a stream apart.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    content: Vec<u8>,
    limit: usize,
}

impl Decoder {
    /// A decoder for frames of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { state: State::Between, content: Vec::new(), limit }
    }

    /// Whether a frame has begun and not ended.
    pub fn is_inside(&self) -> bool {
        !matches!(self.state, State::Between | State::Garbage)
    }

    /// How many bytes it holds of a frame that has not ended.
    pub fn held(&self) -> usize {
        self.content.len()
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        let mut rest = bytes;
        while let Some((&byte, tail)) = rest.split_first() {
            if self.state == State::Inside {
                let plain = memchr::memchr(END, rest).unwrap_or(rest.len());
                if plain > 0 {
                    self.take(&rest[..plain], events);
                    rest = &rest[plain..];
                    continue;
                }
            }
            self.step(byte, events);
            rest = tail;
        }
    }

    fn step(&mut self, byte: u8, events: &mut Vec<Event>) {
        self.state = match (self.state, byte) {
            (State::Between | State::Garbage, START) => State::Inside,
            // Line ends between frames are a habit of some senders.
            (State::Between, b'\r' | b'\n') => State::Between,
            (State::Between, _) => {
                events.push(Event::Garbage);
                State::Garbage
            }
            (State::Garbage, _) => State::Garbage,
            (State::Inside, END) => State::Ending,
            (State::Ending, CR) => {
                events.push(Event::Frame(std::mem::take(&mut self.content)));
                State::Between
            }
            (State::Inside, byte) => {
                self.take(&[byte], events);
                return;
            }
            (State::Ending, byte) => {
                // 0x1C without CR: content, as in two-byte character sets. The byte is looked at again.
                self.state = State::Inside;
                self.take(&[END], events);
                self.step(byte, events);
                return;
            }
            (State::Skipping, END) => State::SkippingEnd,
            (State::Skipping, _) => State::Skipping,
            (State::SkippingEnd, CR) => State::Between,
            (State::SkippingEnd, END) => State::SkippingEnd,
            (State::SkippingEnd, _) => State::Skipping,
        };
    }

    fn take(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        if self.state == State::Skipping {
            return;
        }
        if self.content.len() + bytes.len() > self.limit {
            self.content = Vec::new();
            self.state = State::Skipping;
            events.push(Event::TooLong);
            return;
        }
        self.content.extend_from_slice(bytes);
    }
}

/// Wraps content into a frame.
pub fn encode(content: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(content.len() + 3);
    frame.push(START);
    frame.extend_from_slice(content);
    frame.extend_from_slice(&[END, CR]);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(chunks: &[&[u8]], limit: usize) -> Vec<Event> {
        let mut decoder = Decoder::new(limit);
        let mut events = Vec::new();
        chunks.iter().for_each(|chunk| decoder.push(chunk, &mut events));
        events
    }

    #[test]
    fn frames_come_out_of_any_surroundings() {
        let frame = |text: &str| Event::Frame(text.as_bytes().to_vec());
        assert_eq!(decode(&[b"\x0bMSH\x1c\r\r\n\x0bX\x1c\r"], 99), [frame("MSH"), frame("X")]);
        assert_eq!(decode(&[b"noise\x0bA\x1c\r"], 99), [Event::Garbage, frame("A")]);
        assert_eq!(decode(&[b"\x0bA\x1cB\x1c\x1c\r"], 99), [frame("A\x1cB\x1c")]);
        assert_eq!(decode(&[b"\x0b\x1c\r"], 99), [frame("")]);
        assert_eq!(decode(&[b"\x0bAAAA\x1c\r\x0bB\x1c\r"], 3), [Event::TooLong, frame("B")]);
        assert_eq!(decode(&[b"\x0bAAAA"], 99), []);
    }

    #[test]
    fn an_endless_frame_is_cut_off_at_the_limit() {
        let mut decoder = Decoder::new(1_000);
        let mut events = Vec::new();
        decoder.push(&[START], &mut events);
        for _ in 0..1_000 {
            decoder.push(&[b'x'; 100], &mut events);
            assert!(decoder.content.capacity() <= 2_048);
        }
        assert_eq!(events, [Event::TooLong]);
    }

    proptest! {
        #[test]
        fn any_split_of_the_stream_gives_the_same_frames(
            stream in prop::collection::vec(prop_oneof![4 => any::<u8>(), 2 => Just(START), 3 => Just(END), 3 => Just(CR)], 0..120),
            cuts in prop::collection::vec(any::<usize>(), 0..8), limit in 1usize..40
        ) {
            let whole = decode(&[&stream], limit);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c % (stream.len() + 1)).collect();
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([stream.len()]) {
                chunks.push(&stream[from..cut]);
                from = cut;
            }
            prop_assert_eq!(decode(&chunks, limit), whole);
        }

        #[test]
        fn what_is_encoded_is_decoded(content in prop::collection::vec(any::<u8>().prop_filter("no end", |b| *b != END), 0..60)) {
            prop_assert_eq!(decode(&[&encode(&content)], 100), [Event::Frame(content)]);
        }
    }
}
