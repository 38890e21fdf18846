//! Packs: immutable objects that hold sealed records. A pack describes itself: with packs and wrapped keys alone
//! the index can be built again. Pure: bytes in, bytes out.
//!
//! ```text
//! pack    = "medseal-pack/1\n" record* end
//! record  = 'R' length:u32 header-length:u16 header body       length counts what follows it
//! header  = JSON {kind, type, id, version, owner, time, entry, claims}
//! end     = 'E' count:u32 sha256(all bytes before the sum)
//! ```

use super::seal::{Label, RecordKind, Sealed};
use crate::ids::{Owner, ResourceId, Version};
use crate::index::tokens::Token;
use notary::commitment::Digest;
use serde::{Deserialize, Serialize};

const MAGIC: &[u8] = b"medseal-pack/1\n";
const RECORD: u8 = b'R';
const END: u8 = b'E';
/// 'E', the count, the sum.
const END_BYTES: usize = 1 + 4 + 32;

/// A record with what the index needs to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub sealed: Sealed,
    /// Milliseconds since 1970.
    pub time: i64,
    /// The log entry, for what goes into the log.
    pub entry: Option<Vec<u8>>,
    /// Keyed hashes of what it is recognised by.
    pub claims: Vec<Token>,
}

/// Where a record lies in its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub offset: u64,
    pub length: u32,
}

/// Bytes that are not the pack or record they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("corrupt at byte {at}")]
pub struct PackError {
    pub at: usize,
}

#[derive(Serialize, Deserialize)]
struct Header {
    kind: u8,
    #[serde(rename = "type")]
    type_name: String,
    id: String,
    version: u32,
    owner: String,
    time: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entry: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    claims: Vec<String>,
}

/// A pack being filled.
#[derive(Debug)]
pub struct PackWriter {
    bytes: Vec<u8>,
    count: u32,
}

impl Default for PackWriter {
    fn default() -> Self {
        Self { bytes: MAGIC.to_vec(), count: 0 }
    }
}

impl PackWriter {
    /// Adds a record and tells where it lies.
    pub fn add(&mut self, record: &Record) -> Extent {
        let offset = self.bytes.len();
        let header = header(record);
        self.bytes.push(RECORD);
        // Group limits keep a record far below 4 GiB, and its header below 64 KiB.
        let length = 2 + header.len() + record.sealed.body.len();
        self.bytes.extend((length as u32).to_be_bytes());
        self.bytes.extend((header.len() as u16).to_be_bytes());
        self.bytes.extend(header);
        self.bytes.extend(&record.sealed.body);
        self.count += 1;
        Extent { offset: offset as u64, length: (self.bytes.len() - offset) as u32 }
    }

    /// Adds a record as it lies in another pack.
    pub fn copy(&mut self, record: &[u8]) -> Extent {
        let offset = self.bytes.len() as u64;
        self.bytes.extend(record);
        self.count += 1;
        Extent { offset, length: record.len() as u32 }
    }

    /// The number of bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no record was added.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The finished pack.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.push(END);
        self.bytes.extend(self.count.to_be_bytes());
        let sum = Digest::of(&self.bytes);
        self.bytes.extend(sum.0);
        self.bytes
    }
}

fn header(record: &Record) -> Vec<u8> {
    let label = &record.sealed.label;
    let header = Header {
        kind: label.kind.byte(),
        type_name: label.type_name.clone(),
        id: label.id.to_string(),
        version: label.version.0,
        owner: label.owner.as_str().to_owned(),
        time: record.time,
        entry: record.entry.as_ref().map(hex::encode),
        claims: record.claims.iter().map(|token| hex::encode(token.0)).collect(),
    };
    // Strings and numbers only: serialisation cannot fail.
    serde_json::to_vec(&header).unwrap_or_default()
}

/// Reads one record from exactly its bytes.
pub fn read_record(bytes: &[u8]) -> Result<Record, PackError> {
    let bad = |at| PackError { at };
    let take = |from: usize, to: usize| bytes.get(from..to).ok_or(bad(from));
    if bytes.first() != Some(&RECORD) {
        return Err(bad(0));
    }
    let length = u32::from_be_bytes(take(1, 5)?.try_into().map_err(|_| bad(1))?) as usize;
    let header_length = u16::from_be_bytes(take(5, 7)?.try_into().map_err(|_| bad(5))?) as usize;
    if bytes.len() != 5 + length {
        return Err(bad(1));
    }
    let header: Header = serde_json::from_slice(take(7, 7 + header_length)?).map_err(|_| bad(7))?;
    let entry = header.entry.map(hex::decode).transpose().map_err(|_| bad(7))?;
    let claims = header.claims.iter().map(|claim| claim_of(claim).ok_or(bad(7))).collect::<Result<_, _>>()?;
    let label = Label {
        kind: RecordKind::from_byte(header.kind).ok_or(bad(7))?,
        type_name: header.type_name,
        id: ResourceId::parse(&header.id).ok_or(bad(7))?,
        version: Version(header.version),
        owner: Owner::from_stored(&header.owner),
    };
    let body = bytes.get(7 + header_length..).ok_or(bad(7))?.to_vec();
    Ok(Record { sealed: Sealed { label, body }, time: header.time, entry, claims })
}

/// A record without what was sealed in it: the header stays as it is. Nothing for what is no record.
pub fn without_body(record: &[u8]) -> Option<Vec<u8>> {
    let header = u16::from_be_bytes(record.get(5..7)?.try_into().ok()?);
    let mut bare = record.get(..7 + usize::from(header))?.to_vec();
    bare[1..5].copy_from_slice(&(2 + u32::from(header)).to_be_bytes());
    Some(bare)
}

/// A record as this program writes it. The header is under no seal: what differs from this in spelling alone was changed by somebody.
pub fn as_written(record: &Record) -> Vec<u8> {
    let mut pack = PackWriter::default();
    pack.add(record);
    pack.bytes.split_off(MAGIC.len())
}

/// How many records a pack says that it has.
pub fn count(bytes: &[u8]) -> Option<u32> {
    let end = bytes.len().checked_sub(END_BYTES)?;
    Some(u32::from_be_bytes(bytes.get(end + 1..end + 5)?.try_into().ok()?))
}

fn claim_of(text: &str) -> Option<Token> {
    let mut token = [0; 16];
    hex::decode_to_slice(text, &mut token).ok().map(|()| Token(token))
}

/// Checks the sum at a pack's end.
pub fn check_sum(bytes: &[u8]) -> Result<(), PackError> {
    let end = bytes.len().checked_sub(END_BYTES).ok_or(PackError { at: bytes.len() })?;
    let (content, sum) = bytes.split_at(bytes.len() - 32);
    let whole = bytes.starts_with(MAGIC) && Digest::of(content).0 == sum && bytes[end] == END;
    if whole { Ok(()) } else { Err(PackError { at: 0 }) }
}

/// The records of a pack one by one, each with where it lies. What is no record is told in its place; where its length makes no
/// sense, nothing follows.
pub fn records(bytes: &[u8]) -> impl Iterator<Item = Result<(Extent, Record), PackError>> {
    let end = bytes.len().saturating_sub(END_BYTES);
    let mut at = MAGIC.len();
    std::iter::from_fn(move || {
        let from = (at < end).then_some(at)?;
        let length = bytes.get(from + 1..from + 5).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
        let next = length.and_then(|l| from.checked_add(5 + l as usize)).filter(|next| *next <= end);
        at = next.unwrap_or(end);
        let next = next.ok_or(PackError { at: from });
        Some(next.and_then(|next| {
            let record = read_record(&bytes[from..next]).map_err(|e| PackError { at: from + e.at })?;
            Ok((Extent { offset: from as u64, length: (next - from) as u32 }, record))
        }))
    })
}

/// Reads a whole pack and checks its sum.
pub fn read_pack(bytes: &[u8]) -> Result<Vec<(Extent, Record)>, PackError> {
    check_sum(bytes)?;
    records(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(n: u8, body: Vec<u8>) -> Record {
        let label = Label {
            kind: RecordKind::Resource,
            type_name: "Patient".into(),
            id: ResourceId::parse(&format!("p{n}")).unwrap(),
            version: Version(u32::from(n) + 1),
            owner: Owner::custodian(),
        };
        let claims = vec![Token([n; 16]); usize::from(n % 3)];
        Record { sealed: Sealed { label, body }, time: 5, entry: n.is_multiple_of(2).then(|| vec![n; 35]), claims }
    }

    /// Who changes a byte and puts the sum right again changes what a record says, or how it is written: both are compared by
    /// `medseal storage check`.
    #[test]
    fn every_byte_of_a_pack_says_something() {
        let mut writer = PackWriter::default();
        let records = [record(2, b"sealed".to_vec()), record(1, b"too".to_vec())];
        records.iter().for_each(|record| _ = writer.add(record));
        let bytes = writer.finish();
        let told = |bytes: &[u8]| {
            let read = read_pack(bytes).ok()?;
            let whole = |(extent, record): &(Extent, Record)| {
                let from = extent.offset as usize;
                as_written(record) == bytes[from..from + extent.length as usize]
            };
            let same = read.iter().map(|(_, record)| record).eq(&records);
            Some((same && read.iter().all(whole), count(bytes) == Some(read.len() as u32)))
        };
        assert_eq!(told(&bytes), Some((true, true)));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(check_sum(&changed).is_err(), "byte {at}: the sum tells it");
                let end = changed.len() - 32;
                let sum = Digest::of(&changed[..end]);
                changed[end..].copy_from_slice(&sum.0);
                let is_sum = at >= end;
                assert!(is_sum || told(&changed) != Some((true, true)), "byte {at}, bit {bit}, with a sum that fits");
            }
        }
    }

    proptest! {
        #[test]
        fn a_pack_reads_as_it_was_written(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6), bit in any::<usize>()) {
            let mut writer = PackWriter::default();
            let records: Vec<_> = bodies.into_iter().enumerate().map(|(n, b)| record(n as u8, b)).collect();
            let extents: Vec<_> = records.iter().map(|r| writer.add(r)).collect();
            let bytes = writer.finish();
            let read = read_pack(&bytes).unwrap();
            prop_assert_eq!(read.iter().map(|(e, _)| *e).collect::<Vec<_>>(), extents.clone());
            for (extent, record) in extents.iter().zip(&records) {
                let start = extent.offset as usize;
                let part = &bytes[start..start + extent.length as usize];
                prop_assert_eq!(&read_record(part).unwrap(), record);
                let bare = Sealed { body: Vec::new(), ..record.sealed.clone() };
                prop_assert_eq!(read_record(&without_body(part).unwrap()).unwrap(), Record { sealed: bare, ..record.clone() });
            }
            let mut copies = PackWriter::default();
            for extent in &extents {
                let start = extent.offset as usize;
                prop_assert_eq!(copies.copy(&bytes[start..start + extent.length as usize]), *extent);
            }
            prop_assert_eq!(copies.finish(), bytes.clone());
            let mut flipped = bytes.clone();
            let bit = bit % (bytes.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(read_pack(&flipped).is_err());
            prop_assert!(read_pack(&bytes[..bytes.len() - 1]).is_err());
            let untouched = |e: &Extent| !(e.offset..e.offset + u64::from(e.length)).contains(&(bit as u64 / 8));
            let still = super::records(&flipped).flatten().filter(|(e, _)| extents.contains(e) && untouched(e)).count();
            let length = extents.iter().position(|e| (e.offset + 1..e.offset + 5).contains(&(bit as u64 / 8)));
            prop_assert!(still >= length.unwrap_or(extents.len().saturating_sub(1)), "what comes before is read, and mostly the rest");
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = read_record(&bytes);
            let _ = read_pack(&bytes);
        }
    }
}
