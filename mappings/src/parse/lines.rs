//! Where one segment ends and the next begins.

#[derive(Clone, Copy)]
pub(super) enum LineEnds {
    /// CR or CRLF: a lone LF inside a segment is text, unless a segment plainly begins after it.
    Cr,
    Lf,
}

impl LineEnds {
    pub fn of(bytes: &[u8]) -> Self {
        match memchr::memchr2(b'\r', b'\n', bytes) {
            Some(at) if bytes[at] == b'\n' => Self::Lf,
            _ => Self::Cr,
        }
    }

    pub fn next(self, bytes: &[u8], start: usize, separator: u8) -> usize {
        let mut from = start;
        while let Some(found) = memchr::memchr2(b'\r', b'\n', &bytes[from..]) {
            let at = from + found;
            // A line feed that nothing stands before is no text: printed, it would follow a CR and be half a line end.
            let ends = matches!(self, Self::Lf) || bytes[at] == b'\r' || at == start;
            if ends || begins_segment(&bytes[at + 1..], separator) {
                return at;
            }
            from = at + 1;
        }
        bytes.len()
    }
}

fn begins_segment(bytes: &[u8], separator: u8) -> bool {
    bytes.len() > 3 && bytes[3] == separator && is_segment_name(&bytes[..3])
}

pub(super) fn skip_line_end(bytes: &[u8], end: usize) -> usize {
    match bytes.get(end..end + 2) {
        Some(b"\r\n") => end + 2,
        _ => end + 1,
    }
}

pub(super) fn is_segment_name(name: &[u8]) -> bool {
    name.len() == 3 && name[0].is_ascii_uppercase() && name.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}
