//! A log as a bridge publishes it, on a small server, with changes that a test asks for.

use crate::sample::Sample;
use notary::commitment::Entry;
use notary::monitor::{Part, parts};
use notary::tree::{TILE_HEIGHT, Tile};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The files by their paths.
type Files = HashMap<String, Vec<u8>>;

pub struct Tiles {
    pub port: u16,
    files: Arc<Mutex<Files>>,
}

/// All files of a log.
pub fn files(sample: &Sample, entries: &[Entry]) -> Files {
    let bytes = |part: &Part| match *part {
        Part::Entries { index, width } => {
            let some = entries.iter().skip(index as usize * 256).take(width as usize);
            some.flat_map(|entry| [[0, 35].as_slice(), &entry.to_bytes()].concat()).collect()
        }
        Part::Hashes { level, index, width } => {
            Tile::new(TILE_HEIGHT, level, index, width as u32, false).read_data(&sample.tree).unwrap()
        }
    };
    let tiles = parts(sample.tree.size()).map(|part| (part.path(), bytes(&part)));
    tiles.chain([("checkpoint".to_owned(), sample.checkpoint().into_bytes())]).collect()
}

impl Tiles {
    pub async fn serve(files: Files) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tiles = Self { port: listener.local_addr().unwrap().port(), files: Arc::new(Mutex::new(files)) };
        let files = tiles.files.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, files.clone()));
            }
        });
        tiles
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/log", self.port)
    }

    /// Shows this in the place of what is there; nothing: shows none.
    pub fn put(&self, path: &str, bytes: Option<Vec<u8>>) {
        let mut files = self.files.lock().unwrap();
        match bytes {
            Some(bytes) => files.insert(path.to_owned(), bytes),
            None => files.remove(path),
        };
    }

    pub fn get(&self, path: &str) -> Vec<u8> {
        self.files.lock().unwrap()[path].clone()
    }
}

/// One request a connection.
async fn answer(mut stream: TcpStream, files: Arc<Mutex<Files>>) -> Option<()> {
    let (mut text, mut piece) = (String::new(), [0; 4_096]);
    while !text.contains("\r\n\r\n") {
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        text.push_str(std::str::from_utf8(&piece[..read]).ok()?);
    }
    let path = text.split(' ').nth(1)?.strip_prefix("/log/")?.to_owned();
    let file = files.lock().unwrap().get(&path).cloned();
    let (status, bytes) = match file {
        // A file that begins so stands for a redirect.
        Some(bytes) if bytes.starts_with(b"Location: ") => {
            (format!("302 Found\r\n{}", String::from_utf8_lossy(&bytes)), vec![])
        }
        Some(bytes) => ("200 OK".to_owned(), bytes),
        None => ("404 Not Found".to_owned(), vec![]),
    };
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", bytes.len());
    stream.write_all(&[head.as_bytes(), &bytes].concat()).await.ok()
}
