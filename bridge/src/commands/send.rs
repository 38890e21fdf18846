//! `medseal send`: sends HL7 v2 files over MLLP, prints the acknowledgements, and says how fast it went.

use super::Failed;
use crate::intake::frame::{Decoder, Event, encode};
use crate::limits::MAX_FRAME_BYTES;
use indicatif::{ProgressBar, ProgressStyle};
use mappings::parse::Message;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an acknowledgement may take: the server's own limit, and a little more.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to send, where, and how.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where to: mllp://HOST:PORT
    #[arg(long)]
    pub to: String,
    /// Connections that send at the same time.
    #[arg(long, default_value_t = 1)]
    pub connections: usize,
    /// Send everything this many times; each time the control ids get a number of their own.
    #[arg(long, default_value_t = 1)]
    pub repeat: usize,
    /// Do not print each acknowledgement.
    #[arg(long)]
    pub quiet: bool,
    /// HL7 files; a file may hold several messages. `-` is standard input.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
}

/// Counts of what came back.
#[derive(Debug, Default)]
pub struct Totals {
    pub accepted: AtomicUsize,
    pub refused: AtomicUsize,
}

/// Sends. Fails if any message was not accepted.
pub async fn run(arguments: &Arguments) -> Result<(), Failed> {
    let address = arguments
        .to
        .strip_prefix("mllp://")
        .ok_or_else(|| Failed(format!("--to {}: write mllp://HOST:PORT", arguments.to)))?;
    let messages = read_all(&arguments.files, arguments.repeat)?;
    let bar = progress(messages.len() as u64);
    let totals = Arc::new(Totals::default());
    let begun = Instant::now();
    send_all(address, messages, arguments.connections, &totals, &bar, arguments.quiet).await?;
    bar.finish_and_clear();
    let seconds = begun.elapsed().as_secs_f64();
    let (accepted, refused) = (totals.accepted.load(Ordering::Relaxed), totals.refused.load(Ordering::Relaxed));
    let total = accepted + refused;
    say!(
        "{total} messages in {seconds:.2} s ({:.0} a second): {accepted} accepted, {refused} refused",
        total as f64 / seconds.max(1e-9)
    );
    if refused > 0 { Err(Failed(format!("{refused} messages were not accepted"))) } else { Ok(()) }
}

/// Sends all messages over some connections, each waiting for its acknowledgement.
pub async fn send_all(
    address: &str,
    messages: Vec<String>,
    connections: usize,
    totals: &Arc<Totals>,
    bar: &ProgressBar,
    quiet: bool,
) -> Result<(), Failed> {
    let messages = Arc::new(messages);
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..connections.clamp(1, 1_000) {
        let (messages, next, totals, bar, address) =
            (messages.clone(), next.clone(), totals.clone(), bar.clone(), address.to_owned());
        tasks.spawn(async move {
            let mut connection = Connection::open(&address).await?;
            loop {
                let Some(message) = messages.get(next.fetch_add(1, Ordering::Relaxed)) else { return Ok(()) };
                let ack = connection.exchange(message.as_bytes()).await?;
                let (code, line) = summary(&ack);
                let counter = if matches!(code.as_str(), "AA" | "CA") { &totals.accepted } else { &totals.refused };
                counter.fetch_add(1, Ordering::Relaxed);
                bar.inc(1);
                if !quiet {
                    bar.suspend(|| say!("{line}"));
                }
            }
        });
    }
    while let Some(joined) = tasks.join_next().await {
        joined.map_err(Failed::from_error)??;
    }
    Ok(())
}

/// One MLLP connection of a sender.
pub struct Connection {
    stream: TcpStream,
    decoder: Decoder,
}

impl Connection {
    /// Connects.
    pub async fn open(address: &str) -> Result<Self, Failed> {
        let stream = TcpStream::connect(address).await.map_err(|e| Failed(format!("{address}: {e}")))?;
        stream.set_nodelay(true).map_err(Failed::from_error)?;
        Ok(Self { stream, decoder: Decoder::new(MAX_FRAME_BYTES) })
    }

    /// Sends a message and waits for its acknowledgement.
    pub async fn exchange(&mut self, message: &[u8]) -> Result<String, Failed> {
        let lost = |e: std::io::Error| Failed(format!("the connection was lost before the acknowledgement: {e}"));
        self.stream.write_all(&encode(message)).await.map_err(lost)?;
        let mut buffer = vec![0; 16 << 10];
        let mut events = Vec::new();
        loop {
            let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await;
            let read = read.map_err(|_| Failed("no acknowledgement came".into()))?.map_err(lost)?;
            if read == 0 {
                return Err(lost(std::io::ErrorKind::UnexpectedEof.into()));
            }
            self.decoder.push(&buffer[..read], &mut events);
            if let Some(Event::Frame(bytes)) = events.drain(..).find(|e| matches!(e, Event::Frame(_))) {
                return Ok(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
    }
}

/// The code of an acknowledgement, and a line for people: control id, code, and the first error.
fn summary(ack: &str) -> (String, String) {
    let Ok(message) = Message::parse(ack) else { return ("?".into(), "an answer that is no HL7 message".into()) };
    let msa = |n| message.first("MSA").map_or("", |s| s.field(n)).to_owned();
    let error = message.first("ERR").map_or(String::new(), |err| format!("  {}  {}", err.field(2), err.field(8)));
    (msa(1), format!("{}  {}{error}", msa(1), msa(2)))
}

fn read_all(files: &[PathBuf], repeat: usize) -> Result<Vec<String>, Failed> {
    let mut texts = Vec::new();
    for file in files {
        texts.push(read_file(file)?);
    }
    let mut messages = Vec::new();
    for round in 0..repeat.max(1) {
        for text in &texts {
            messages.extend(split(text).into_iter().map(|m| if round == 0 { m } else { renumbered(&m, round) }));
        }
    }
    if messages.is_empty() { Err(Failed("the files hold no message".into())) } else { Ok(messages) }
}

fn read_file(file: &Path) -> Result<String, Failed> {
    let wrong = |e: std::io::Error| Failed(format!("{}: {e}", file.display()));
    let bytes = if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes).map_err(wrong)?;
        bytes
    } else {
        std::fs::read(file).map_err(wrong)?
    };
    String::from_utf8(bytes)
        .map_err(|_| Failed(format!("{}: not UTF-8; send it with a tool that leaves bytes alone", file.display())))
}

/// The messages of a file, each from MSH to the next, with CR ends.
pub fn split(text: &str) -> Vec<String> {
    let text = text.replace("\r\n", "\r").replace('\n', "\r");
    let mut messages: Vec<String> = Vec::new();
    for line in text.split('\r').filter(|line| !line.trim().is_empty()) {
        if line.trim_start_matches('\u{feff}').starts_with("MSH") {
            messages.push(String::new());
        }
        if let Some(message) = messages.last_mut() {
            message.push_str(line);
            message.push('\r');
        }
    }
    messages
}

/// The same message with `-round` behind its control id, so that it is a new one.
fn renumbered(message: &str, round: usize) -> String {
    let Ok(parsed) = Message::parse(message) else { return message.to_owned() };
    let separator = char::from(parsed.separators().field);
    let (head, rest) = message.split_once('\r').unwrap_or((message, ""));
    let mut fields: Vec<String> = head.split(separator).map(str::to_owned).collect();
    if let Some(id) = fields.get_mut(9) {
        id.push_str(&format!("-{round}"));
    }
    format!("{}\r{rest}", fields.join(&separator.to_string()))
}

/// A bar on a terminal, nothing elsewhere.
pub fn progress(length: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length);
    // The template is ours and known to be good; without it the bar has its default look.
    if let Ok(style) = ProgressStyle::with_template("  {bar:32.cyan/dim} {pos}/{len}  {per_sec}  {eta}") {
        bar.set_style(style.progress_chars("━━╌"));
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_split_and_rounds_renumbered() {
        let messages = split("MSH|^~\\&|A|B|C|D|1||X|7|P\nPID|1\n\nMSH|^~\\&|A\r\nPID|2\r\n");
        assert_eq!(messages, ["MSH|^~\\&|A|B|C|D|1||X|7|P\rPID|1\r", "MSH|^~\\&|A\rPID|2\r"]);
        assert!(renumbered(&messages[0], 3).contains("|X|7-3|P\rPID|1\r"));
    }

    #[test]
    fn an_acknowledgement_is_summed_up() {
        let ack = "MSH|^~\\&|A\rMSA|AE|7\rERR||PID^1^7|102^x^HL70357|E||||wrong\r";
        assert_eq!(summary(ack), ("AE".into(), "AE  7  PID^1^7  wrong".into()));
    }
}
