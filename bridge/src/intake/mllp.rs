//! One MLLP connection: it is answered in order. A feed whose turn has not come is not read from, and so feels it.

use super::ack::{self, Mode};
use super::frame::{Decoder, Event, encode};
use crate::app::App;
use crate::error::{IngestError, Issue};
use crate::feeds::{Arrival, Feed, Feeds, Listener, Origin};
use crate::ingest::{Answered, Received, receive};
use crate::limits::{FRAME_TIMEOUT, HANDSHAKE_TIMEOUT, MAX_FRAME_BYTES, WRITE_TIMEOUT};
use crate::tls::{Shown, revocation};
use std::io::Error;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::Instrument;

/// Speaks with one sender until he goes, errs or the service stops.
pub(super) async fn connection(
    app: &Arc<App>,
    listener: Listener,
    stream: TcpStream,
    stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let feeds = app.core.feeds();
    let Some(door) = feeds.door(listener) else {
        let arrival = Arrival { listener, shown: Arc::default() };
        return admitted(app, &feeds, arrival, stream, stop).await;
    };
    let begun = timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(door.clone()).accept(stream)).await;
    let begun = begun.map_err(|_| Error::other("TLS did not begin in time"))?;
    let stream = begun.inspect_err(|error| {
        if let Some(why) = revocation(error) {
            tracing::warn!(why, "a sender was refused");
        }
    })?;
    let shown = Arc::new(Shown::new(stream.get_ref().1.peer_certificates().unwrap_or_default()));
    let arrival = Arrival { listener, shown };
    admitted(app, &feeds, arrival, stream, stop).await
}

/// Nobody is listened to who may speak for no feed.
async fn admitted<S: AsyncRead + AsyncWrite + Unpin>(
    app: &Arc<App>,
    feeds: &Feeds,
    arrival: Arrival,
    stream: S,
    stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let admitted: Vec<Arc<Feed>> = feeds.admitted(&arrival).into_iter().cloned().collect();
    if admitted.is_empty() {
        return Err(Error::other("the certificate that was shown is no feed's of this listener"));
    }
    admitted.iter().for_each(|feed| feed.meter.connected(true));
    let done = talk(app, &arrival, stream, stop).await;
    admitted.iter().for_each(|feed| feed.meter.connected(false));
    done
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    app: &Arc<App>,
    arrival: &Arrival,
    mut stream: S,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let mut decoder = Decoder::new(MAX_FRAME_BYTES);
    let mut buffer = vec![0; 64 << 10];
    let mut events = Vec::new();
    let mut deadline = Instant::now() + FRAME_TIMEOUT;
    loop {
        if !decoder.is_inside() {
            deadline = Instant::now() + FRAME_TIMEOUT;
        }
        let read = tokio::select! {
            // What has arrived whole was answered; half a frame was promised nothing and is sent again.
            _ = stop.wait_for(|stopping| *stopping) => return Ok(()),
            read = next(&mut stream, &mut buffer, decoder.is_inside().then_some(deadline)) => read?,
        };
        if read == 0 {
            return Ok(());
        }
        decoder.push(&buffer[..read], &mut events);
        for event in events.drain(..) {
            let span = tracing::info_span!("frame", otel.kind = "server");
            let acks = answer(app, arrival, event).instrument(span.clone()).await;
            let acknowledging = span.in_scope(|| tracing::info_span!("acknowledge"));
            let written = timeout(WRITE_TIMEOUT, write(&mut stream, &acks).instrument(acknowledging)).await;
            written.map_err(|_| Error::other("the sender does not take its acknowledgement"))??;
        }
    }
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    // Under TLS what is written is not sent before.
    stream.flush().await
}

/// The next bytes; a frame that has begun must be whole by its deadline.
async fn next<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut [u8],
    deadline: Option<Instant>,
) -> std::io::Result<usize> {
    let Some(deadline) = deadline else { return stream.read(buffer).await };
    let read = tokio::time::timeout_at(deadline, stream.read(buffer)).await;
    read.map_err(|_| Error::other("a frame did not end in time"))?
}

async fn answer(app: &Arc<App>, arrival: &Arrival, event: Event) -> Vec<u8> {
    let answers = match event {
        Event::Frame(bytes) => receive(app, Received { bytes, origin: Origin::Mllp(arrival) }).await,
        Event::TooLong => vec![refused(format!("a frame is at most {MAX_FRAME_BYTES} bytes long"))],
        Event::Garbage => {
            tracing::warn!("bytes outside a frame were skipped on an MLLP connection");
            return Vec::new();
        }
    };
    let now = app.core.clock.now();
    let mut out = Vec::new();
    for (number, answer) in answers.iter().enumerate() {
        ack::log_ours(answer);
        for text in ack::acknowledgements(answer, number, now, Mode::Mllp) {
            out.extend(encode(text.as_bytes()));
        }
    }
    out
}

fn refused(text: String) -> Answered {
    Answered { text: String::new(), outcome: Err(IngestError::Unparsable(Issue::new("too-long", text))) }
}
