//! Where many receipts come from: files, directories of `*.json`, and NDJSON with a receipt on each line.

use super::files::read;
use notary::receipt::MAX_RECEIPT_BYTES;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// A receipt that was not read yet, or a line that was.
pub enum Item {
    File(PathBuf),
    Line {
        name: String,
        bytes: Vec<u8>,
    },
    /// A file that cannot be read.
    Fault {
        name: String,
        why: String,
    },
}

/// All receipts, in the order of the arguments; the files of a directory in the order of their names.
pub struct Source {
    paths: VecDeque<PathBuf>,
    lines: Option<Lines>,
    /// The bytes of all files, for the progress bar.
    pub total: u64,
}

struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    number: u64,
}

impl Item {
    /// The name and the bytes, or why there are none.
    pub fn read(self) -> (String, Result<Vec<u8>, String>) {
        match self {
            Self::File(path) => (path.display().to_string(), read(&path, MAX_RECEIPT_BYTES)),
            Self::Line { name, bytes } => (name, Ok(bytes)),
            Self::Fault { name, why } => (name, Err(why)),
        }
    }
}

impl Source {
    /// The receipts at these places.
    pub fn new(places: &[PathBuf]) -> Result<Self, String> {
        let mut paths = VecDeque::new();
        for place in places {
            if place.is_dir() { directory(place, &mut paths)? } else { paths.push_back(place.clone()) }
        }
        let total = paths.iter().filter_map(|path| path.metadata().ok()).map(|file| file.len()).sum();
        Ok(Self { paths, lines: None, total })
    }

    /// The next file that is no NDJSON, or the next line of one that is.
    fn item(&mut self) -> Option<Item> {
        loop {
            if let Some(lines) = &mut self.lines {
                match lines.item() {
                    Some(item) => return Some(item),
                    None => self.lines = None,
                }
            }
            let path = self.paths.pop_front()?;
            let is_ndjson = path.extension().is_some_and(|e| e == "ndjson" || e == "jsonl");
            if !is_ndjson {
                return Some(Item::File(path));
            }
            match File::open(&path) {
                Ok(file) => self.lines = Some(Lines { path, reader: BufReader::new(file), number: 0 }),
                Err(error) => return Some(fault(&path, &error)),
            }
        }
    }
}

impl Iterator for Source {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        self.item()
    }
}

impl Lines {
    fn item(&mut self) -> Option<Item> {
        loop {
            self.number += 1;
            let mut bytes = Vec::new();
            // The line feed, and one byte over the limit, which the parser refuses.
            let most = MAX_RECEIPT_BYTES as u64 + 2;
            match self.reader.by_ref().take(most).read_until(b'\n', &mut bytes) {
                Err(error) => return Some(fault(&self.path, &error)),
                Ok(0) => return None,
                Ok(_) if bytes.ends_with(b"\n") => {
                    bytes.pop();
                }
                Ok(_) => self.skip_line(),
            }
            if !bytes.trim_ascii().is_empty() {
                let name = format!("{}:{}", self.path.display(), self.number);
                return Some(Item::Line { name, bytes });
            }
        }
    }

    /// The rest of a line that is too long, without keeping it.
    fn skip_line(&mut self) {
        while let Ok(piece) = self.reader.fill_buf() {
            let (end, length) = (piece.iter().position(|b| *b == b'\n'), piece.len());
            self.reader.consume(end.map_or(length, |at| at + 1));
            if end.is_some() || length == 0 {
                return;
            }
        }
    }
}

fn fault(path: &Path, error: &std::io::Error) -> Item {
    let name = path.display().to_string();
    Item::Fault { why: format!("{name}: {error}"), name }
}

/// The `*.json` and NDJSON below a directory. A link to a directory is not followed: it may lead back.
fn directory(path: &Path, found: &mut VecDeque<PathBuf>) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    let entries: Result<Vec<_>, _> = std::fs::read_dir(path).map_err(told)?.collect();
    let mut entries = entries.map_err(told)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            directory(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "json" || e == "ndjson" || e == "jsonl") {
            found.push_back(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_come_in_order_and_long_lines_do_not_hide_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("b")).unwrap();
        for name in ["b/2.json", "b/1.json", "a.json", "notes.txt"] {
            std::fs::write(at(name), name).unwrap();
        }
        let long = "x".repeat(MAX_RECEIPT_BYTES + 500_000);
        std::fs::write(at("c.ndjson"), format!("one\n\n{long}\r\nlast")).unwrap();
        let all = Source::new(&[folder.path().to_owned(), at("none")]).unwrap();
        let read: Vec<_> = all.map(Item::read).collect();
        let names: Vec<_> = read.iter().map(|(name, _)| name.rsplit('/').next().unwrap()).collect();
        assert_eq!(names, ["a.json", "1.json", "2.json", "c.ndjson:1", "c.ndjson:3", "c.ndjson:4", "none"]);
        let lengths: Vec<_> = read.iter().map(|(_, bytes)| bytes.as_ref().map_or(0, Vec::len)).collect();
        assert_eq!(lengths, [6, 8, 8, 3, MAX_RECEIPT_BYTES + 2, 4, 0]);
        assert!(read[6].1.is_err(), "a file that is not there is told");
    }
}
