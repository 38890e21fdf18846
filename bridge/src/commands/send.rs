//! `medseal send`: sends HL7 v2 files over MLLP, prints the acknowledgements, and says how fast it went.

use super::Failed;
use crate::intake::frame::{Decoder, Event, encode};
use crate::limits::MAX_FRAME_BYTES;
use crate::tls;
use indicatif::{ProgressBar, ProgressStyle};
use mappings::parse::Message;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::either::Either;

/// How long an acknowledgement may take: the server's own limit, and a little more.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to send, where, and how.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where to: mllp://HOST:PORT, or mllps://HOST:PORT over TLS.
    #[arg(long)]
    pub to: String,
    /// Who has signed the server's certificate (PEM); for mllps.
    #[arg(long)]
    pub authorities: Option<PathBuf>,
    /// The certificate to show, and its key (PEM): mutual TLS.
    #[arg(long, requires = "key")]
    pub certificate: Option<PathBuf>,
    #[arg(long, requires = "certificate")]
    pub key: Option<PathBuf>,
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
    let target = Target::of(arguments)?;
    let messages = read_all(&arguments.files, arguments.repeat)?;
    let bar = progress(messages.len() as u64);
    let totals = Arc::new(Totals::default());
    let begun = Instant::now();
    send_all(&target, messages, arguments.connections, &totals, &bar, arguments.quiet).await?;
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
    target: &Target,
    messages: Vec<Vec<u8>>,
    connections: usize,
    totals: &Arc<Totals>,
    bar: &ProgressBar,
    quiet: bool,
) -> Result<(), Failed> {
    let messages = Arc::new(messages);
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..connections.clamp(1, 1_000) {
        let (messages, next, totals, bar, target) =
            (messages.clone(), next.clone(), totals.clone(), bar.clone(), target.clone());
        tasks.spawn(async move {
            let mut connection = Connection::to(&target).await?;
            loop {
                let Some(message) = messages.get(next.fetch_add(1, Ordering::Relaxed)) else { return Ok(()) };
                let ack = connection.exchange(message).await?;
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

/// Where messages are sent to, and how it is spoken to.
#[derive(Clone)]
pub struct Target {
    address: String,
    tls: Option<Arc<ClientConfig>>,
}

impl Target {
    /// Without TLS.
    pub fn plain(address: &str) -> Self {
        Self { address: address.to_owned(), tls: None }
    }

    /// Over TLS.
    pub fn over_tls(address: &str, tls: Arc<ClientConfig>) -> Self {
        Self { address: address.to_owned(), tls: Some(tls) }
    }

    fn of(arguments: &Arguments) -> Result<Self, Failed> {
        if let Some(address) = arguments.to.strip_prefix("mllp://") {
            return Ok(Self::plain(address));
        }
        let wrong = || Failed(format!("--to {}: write mllp://HOST:PORT, or mllps://HOST:PORT", arguments.to));
        let address = arguments.to.strip_prefix("mllps://").ok_or_else(wrong)?;
        let missing = || Failed("mllps: name by --authorities who has signed the server's certificate".into());
        let authorities = arguments.authorities.as_deref().ok_or_else(missing)?;
        let own = arguments.certificate.as_deref().zip(arguments.key.as_deref());
        Ok(Self::over_tls(address, tls::client(authorities, own).map_err(Failed::from_error)?))
    }
}

/// One MLLP connection of a sender.
pub struct Connection {
    stream: Either<TcpStream, Box<TlsStream<TcpStream>>>,
    decoder: Decoder,
}

impl Connection {
    /// Connects without TLS.
    pub async fn open(address: &str) -> Result<Self, Failed> {
        Self::to(&Target::plain(address)).await
    }

    /// Connects.
    pub async fn to(target: &Target) -> Result<Self, Failed> {
        let Target { address, tls } = target;
        let away = |e: std::io::Error| Failed(format!("{address}: {e}"));
        let stream = TcpStream::connect(address).await.map_err(away)?;
        stream.set_nodelay(true).map_err(Failed::from_error)?;
        let stream = match tls {
            None => Either::Left(stream),
            Some(tls) => {
                let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
                let host =
                    ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(Failed::from_error)?;
                Either::Right(Box::new(TlsConnector::from(tls.clone()).connect(host, stream).await.map_err(away)?))
            }
        };
        Ok(Self { stream, decoder: Decoder::new(MAX_FRAME_BYTES) })
    }

    /// Sends a message and waits for its acknowledgement.
    pub async fn exchange(&mut self, message: &[u8]) -> Result<String, Failed> {
        let lost = |e: std::io::Error| Failed(format!("the connection was lost before the acknowledgement: {e}"));
        self.stream.write_all(&encode(message)).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)?;
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

fn read_all(files: &[PathBuf], repeat: usize) -> Result<Vec<Vec<u8>>, Failed> {
    let mut texts = Vec::new();
    for file in files {
        texts.push(read_file(file)?);
    }
    let mut messages = Vec::new();
    for round in 0..repeat.max(1) {
        for text in &texts {
            let numbered = |m: String| if round == 0 { m } else { renumbered(&m, round) };
            messages.extend(split(&text.characters).into_iter().map(|message| text.bytes(&numbered(message))));
        }
    }
    if messages.is_empty() { Err(Failed("the files hold no message".into())) } else { Ok(messages) }
}

/// What a file holds: UTF-8, or of any other set that is ASCII and more, each byte as the character of that number. MSH-18 or the feed says
/// which one it is; here every byte goes as it came.
struct Text {
    characters: String,
    is_utf8: bool,
}

impl Text {
    fn of(bytes: Vec<u8>) -> Option<Self> {
        match String::from_utf8(bytes) {
            Ok(characters) => Some(Self { characters, is_utf8: true }),
            // Of two bytes a character: what is split here is not what was meant.
            Err(error) if error.as_bytes().contains(&0) => None,
            Err(error) => {
                Some(Self { characters: error.as_bytes().iter().copied().map(char::from).collect(), is_utf8: false })
            }
        }
    }

    fn bytes(&self, part: &str) -> Vec<u8> {
        if self.is_utf8 { part.as_bytes().to_vec() } else { part.chars().map(|c| c as u8).collect() }
    }
}

fn read_file(file: &Path) -> Result<Text, Failed> {
    let wrong = |e: std::io::Error| Failed(format!("{}: {e}", file.display()));
    let bytes = if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes).map_err(wrong)?;
        bytes
    } else {
        std::fs::read(file).map_err(wrong)?
    };
    let text = "of a character set with two bytes a character: send it with a tool that leaves bytes alone";
    Text::of(bytes).ok_or_else(|| Failed(format!("{}: {text}", file.display())))
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
    fn bytes_go_as_they_came_whatever_set_they_are_of() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("in.hl7");
        for name in [&b"J\xf6rg\x85"[..], "Jörg".as_bytes(), "\u{39b}".as_bytes()] {
            let message = [b"MSH|^~\\&|A|B|C|D|1||X|7|P\rPID|1||||", name, b"\r"].concat();
            std::fs::write(&file, &message).unwrap();
            let again = String::from_utf8_lossy(&message).replace("|7|", "|7-1|");
            let sent = read_all(std::slice::from_ref(&file), 2).unwrap();
            assert_eq!(sent[0], message);
            assert_eq!(String::from_utf8_lossy(&sent[1]), again);
        }
        std::fs::write(&file, b"\xff\xfeM\0S\0H\0|\0").unwrap();
        assert!(read_all(&[file], 1).is_err());
    }

    #[test]
    fn an_acknowledgement_is_summed_up() {
        let ack = "MSH|^~\\&|A\rMSA|AE|7\rERR||PID^1^7|102^x^HL70357|E||||wrong\r";
        assert_eq!(summary(ack), ("AE".into(), "AE  7  PID^1^7  wrong".into()));
    }
}
