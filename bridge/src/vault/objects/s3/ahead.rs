//! What will be read next is fetched together: a request costs more than the bytes that lie between two records.

use super::{Bucket, Part};
use bytes::Bytes;
use futures_util::future::join_all;

/// Parts of a pack that are no further apart than this are read by one request.
const GAP_BYTES: u64 = 64 << 10;
/// The most that one such request reads, and how many of them are under way.
const AHEAD_BYTES: u64 = 4 << 20;
const AHEAD_AT_ONCE: usize = 8;
/// The most that is read ahead for one page: a page of scanned documents ends early, and what it does not show is not read.
const AHEAD_IN_ALL: u64 = 16 << 20;

impl Bucket {
    /// Reads what will be asked for next into the cache, neighbours together. What fails here fails again, and is told, when
    /// it is asked for.
    pub(in crate::vault::objects) async fn read_ahead(&self, mut parts: Vec<Part>) {
        parts.retain(|part| part.length > 0 && !self.cache.holds(&part.name, part.offset, part.length));
        let mut spans = spans(parts);
        // What lies alone is read when it is asked for.
        spans.retain(|span| span.len() > 1);
        let mut in_all = 0;
        spans.retain(|span| {
            in_all += extent(span).map_or(0, |(_, length)| length as u64);
            in_all <= AHEAD_IN_ALL
        });
        for some in spans.chunks(AHEAD_AT_ONCE) {
            let fetches: Vec<_> = some.iter().map(|span| self.fetch(span)).collect();
            join_all(fetches).await;
        }
    }

    async fn fetch(&self, span: &[Part]) {
        let (Some(first), Some((offset, length))) = (span.first(), extent(span)) else { return };
        let Ok(bytes) = self.get(&first.name, Some((offset, length))).await else { return };
        for part in span {
            let from = (part.offset - offset) as usize;
            // Copied: a slice of the whole would keep the whole in memory.
            self.cache.keep(&part.name, part.offset, &Bytes::copy_from_slice(&bytes[from..from + part.length]));
        }
    }
}

/// From the first part to the end of the last one.
fn extent(span: &[Part]) -> Option<(u64, usize)> {
    let (first, last) = (span.first()?, span.last()?);
    Some((first.offset, (last.offset - first.offset) as usize + last.length))
}

/// Parts of one pack that lie near each other.
fn spans(mut parts: Vec<Part>) -> Vec<Vec<Part>> {
    parts.sort_unstable_by(|a, b| (&a.name, a.offset).cmp(&(&b.name, b.offset)));
    parts.dedup();
    let mut spans: Vec<Vec<Part>> = Vec::new();
    for part in parts {
        let near = |span: &Vec<Part>| match (span.first(), span.last()) {
            (Some(first), Some(last)) => {
                let end = last.offset + last.length as u64;
                let new_end = part.offset + part.length as u64;
                last.name == part.name
                    && (end..=end + GAP_BYTES).contains(&part.offset)
                    && new_end - first.offset <= AHEAD_BYTES
            }
            _ => false,
        };
        match spans.last_mut() {
            Some(span) if near(span) => span.push(part),
            _ => spans.push(vec![part]),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_read_together() {
        let part = |name: &str, offset, length| Part { name: name.into(), offset, length };
        let far = 10 + GAP_BYTES;
        let parts = vec![part("b", 0, 5), part("a", far + 6, 5), part("a", 10, 5), part("a", 0, 5), part("a", 10, 5)];
        assert_eq!(
            spans(parts),
            [vec![part("a", 0, 5), part("a", 10, 5)], vec![part("a", far + 6, 5)], vec![part("b", 0, 5)]]
        );
        let large = AHEAD_BYTES as usize - 5;
        assert_eq!(spans(vec![part("a", 0, large), part("a", large as u64, 5)]).len(), 1);
        assert_eq!(spans(vec![part("a", 0, large), part("a", large as u64, 6)]).len(), 2, "one request has a bound");
    }
}
