//! The ledger's journal: one line a block, each with the hash of its content, durable before the block counts. Starting means
//! reading it again. It is a file, or whoever runs the ledger keeps the lines where several can read them.

use crate::commitment::Digest;
use alloy_primitives::{B256, Bytes};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Which contract a transaction is for. The first one for each creates it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum On {
    #[default]
    NotaryAnchor,
    ConsentRegistry,
}

/// One block: its single transaction and what it led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Block {
    pub number: u64,
    /// Seconds since 1970.
    pub timestamp: u64,
    /// Left out for anchors, as in journals from before there was anything else.
    #[serde(default, skip_serializing_if = "On::is_anchor")]
    pub on: On,
    pub input: Bytes,
    pub gas_used: u64,
    pub parent: B256,
    pub state_root: B256,
}

impl On {
    fn is_anchor(&self) -> bool {
        *self == Self::NotaryAnchor
    }
}

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("ledger journal {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("the ledger's block was not kept: {0}")]
    NotKept(#[source] Box<dyn Error + Send + Sync>),
    #[error("ledger journal {path} is corrupt at line {line} (byte {offset}): {what}: put it back from your backup")]
    Corrupt { path: PathBuf, line: usize, offset: usize, what: String },
}

/// Keeps the lines of a journal that is no file.
pub trait Keeper: Send + std::fmt::Debug {
    /// Keeps the line of a block, durably; refuses a block whose number is taken.
    fn keep(&mut self, number: u64, line: &str) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    place: Place,
}

#[derive(Debug)]
enum Place {
    File(File),
    Kept(Box<dyn Keeper>),
}

impl Journal {
    /// A journal whose lines lie elsewhere; `path` names the place in messages.
    pub fn kept(path: &Path, keeper: Box<dyn Keeper>) -> Self {
        Self { path: path.to_owned(), place: Place::Kept(keeper) }
    }

    /// Reads lines that were kept, from block `first` on.
    pub fn read(&self, first: u64, lines: &[String]) -> Result<Vec<Block>, JournalError> {
        let read = |(n, line): (usize, &String)| {
            read_line(line.as_bytes()).map_err(|what| self.corrupt(first as usize + n + 1, what))
        };
        lines.iter().enumerate().map(read).collect()
    }

    /// Opens or creates a journal and reads its blocks. A last line without its line end is a crash in the
    /// middle of an append: that block never counted, and is cut off. Anything else is corruption.
    pub fn open(path: &Path) -> Result<(Self, Vec<Block>), JournalError> {
        let io = |source| JournalError::Io { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        // Whatever the process's mask is.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(io)?;
        // A file that is new has its name only when its directory is synced.
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new("."))).and_then(|d| d.sync_all()).map_err(io)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(io)?;
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        if whole < text.len() {
            file.set_len(whole as u64).and_then(|()| file.sync_all()).map_err(io)?;
        }
        let blocks = read_lines(path, &text[..whole])?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        Ok((Self { path: path.to_owned(), place: Place::File(file) }, blocks))
    }

    /// Appends a block; when this returns it is durable. After an error the torn line of a file is taken back.
    pub fn append(&mut self, block: &Block) -> Result<(), JournalError> {
        let line = line(block);
        match &mut self.place {
            Place::Kept(keeper) => keeper.keep(block.number, &line).map_err(JournalError::NotKept),
            Place::File(file) => {
                write_line(file, &line).map_err(|source| JournalError::Io { path: self.path.clone(), source })
            }
        }
    }

    /// The error for a line whose content is well-formed but wrong.
    pub fn corrupt(&self, line: usize, what: impl Into<String>) -> JournalError {
        JournalError::Corrupt { path: self.path.clone(), line, offset: 0, what: what.into() }
    }
}

fn write_line(file: &mut File, line: &str) -> std::io::Result<()> {
    let start = file.stream_position()?;
    file.write_all(line.as_bytes()).and_then(|()| file.sync_data()).inspect_err(|_| {
        // Best effort: if this fails too, the next start cuts the torn line off.
        let _ = file.set_len(start);
        let _ = file.seek(SeekFrom::Start(start));
    })
}

fn line(block: &Block) -> String {
    // Numbers and hexadecimal only: serialisation cannot fail.
    let json = serde_json::to_string(block).unwrap_or_default();
    format!("{} {json}\n", Digest::of(json.as_bytes()))
}

fn read_lines(path: &Path, text: &[u8]) -> Result<Vec<Block>, JournalError> {
    let mut blocks = Vec::new();
    let mut offset = 0;
    for (n, line) in text.split_inclusive(|b| *b == b'\n').enumerate() {
        let block = read_line(line).map_err(|what| JournalError::Corrupt {
            path: path.to_owned(),
            line: n + 1,
            offset,
            what: what.to_owned(),
        })?;
        blocks.push(block);
        offset += line.len();
    }
    Ok(blocks)
}

fn read_line(line: &[u8]) -> Result<Block, &'static str> {
    let text = std::str::from_utf8(line).map_err(|_| "not text")?.trim_end();
    let (hash, json) = text.split_once(' ').ok_or("not a block")?;
    if Digest::of(json.as_bytes()).to_string() != hash {
        return Err("its content does not match its hash");
    }
    serde_json::from_str(json).map_err(|_| "not a block")
}
