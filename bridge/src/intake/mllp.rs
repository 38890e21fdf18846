//! One MLLP connection: it is answered in order. A feed whose turn has not come is not read from, and so feels it.

use super::ack::{self, Mode};
use super::frame::{Decoder, Event, encode};
use crate::app::App;
use crate::error::{IngestError, Issue};
use crate::feeds::{Arrival, Feed, Feeds, Listener, Origin};
use crate::ingest::{Answered, Received, receive};
use crate::limits::{
    FRAME_PATIENCE, FRAME_TIMEOUT, HANDSHAKE_TIMEOUT, KEEPALIVE_IDLE, KEEPALIVE_PROBE, KEEPALIVE_PROBES,
    MAX_FRAME_BYTES, SMALL_FRAME_BYTES, WRITE_TIMEOUT,
};
use crate::rooms::Room;
use crate::tls::{Refusal, Shown};
use socket2::{SockRef, TcpKeepalive};
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
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
    peer: SocketAddr,
    stream: TcpStream,
    stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&alive())?;
    let feeds = app.core.feeds();
    let Some(door) = feeds.door(listener) else {
        let arrival = Arrival { listener, peer, shown: Arc::default() };
        return admitted(app, &feeds, arrival, stream, stop).await;
    };
    let begun = timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(door.clone()).accept(stream)).await;
    let begun = begun.unwrap_or_else(|_| Err(Error::other("TLS did not begin in time")));
    let stream = begun.inspect_err(|error| {
        let refusal = Refusal::of(error);
        app.core.metrics.refused_handshakes.add(1, refusal.word());
        if let Some(why) = refusal.about_revocation() {
            tracing::warn!(why, %peer, "a sender was refused");
        }
    })?;
    let shown = Arc::new(Shown::new(stream.get_ref().1.peer_certificates().unwrap_or_default()));
    let arrival = Arrival { listener, peer, shown };
    admitted(app, &feeds, arrival, stream, stop).await
}

/// A feed may be silent for days; one whose machine is gone keeps no place.
fn alive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_PROBE).with_retries(KEEPALIVE_PROBES)
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
        app.core.metrics.refused_handshakes.add(1, Refusal::Certificate.word());
        let shown = arrival.fingerprint().unwrap_or_else(|| "none".into());
        return Err(Error::other(format!("the certificate that was shown, {shown}, is no feed's of this listener")));
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
    let mut incoming = Incoming::new(app.frames.room(&arrival.peer.ip().to_canonical().to_string()), Instant::now());
    let mut buffer = vec![0; 64 << 10];
    let mut told = false;
    loop {
        let read = tokio::select! {
            // What has arrived whole was answered; half a frame was promised nothing and is sent again.
            _ = stop.wait_for(|stopping| *stopping) => return Ok(()),
            // Senders end TLS without a word, and that is an end like another one.
            read = next(&mut stream, &mut buffer, incoming.deadline()) => match read {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof && !incoming.decoder.is_inside() => return Ok(()),
                read => read?,
            },
        };
        if read == 0 {
            return Ok(());
        }
        let began_inside = incoming.decoder.is_inside();
        let events = incoming.take(&buffer[..read], FRAME_PATIENCE).await?;
        let whole = events.iter().any(|event| matches!(event, Event::Frame(_)));
        for event in events {
            let span = tracing::info_span!("frame", otel.kind = "server");
            let acks = answer(app, arrival, event, &mut told).instrument(span.clone()).await;
            let acknowledging = span.in_scope(|| tracing::info_span!("acknowledge"));
            let written = timeout(WRITE_TIMEOUT, write(&mut stream, &acks).instrument(acknowledging)).await;
            written.map_err(|_| Error::other("the sender does not take its acknowledgement"))??;
        }
        incoming.answered(whole || !began_inside, Instant::now());
    }
}

/// What has come of a connection and is not answered.
struct Incoming {
    decoder: Decoder,
    deadline: Instant,
    /// For what is longer than most frames.
    room: Room,
}

impl Incoming {
    fn new(room: Room, now: Instant) -> Self {
        Self { decoder: Decoder::new(MAX_FRAME_BYTES), deadline: now + FRAME_TIMEOUT, room }
    }

    /// By when the frame that has begun must have ended.
    fn deadline(&self) -> Option<Instant> {
        self.decoder.is_inside().then_some(self.deadline)
    }

    /// Takes bytes, and what came out of them, if memory has room for it.
    async fn take(&mut self, bytes: &[u8], patience: Duration) -> std::io::Result<Vec<Event>> {
        let mut events = Vec::new();
        self.decoder.push(bytes, &mut events);
        let frame = |event: &Event| if let Event::Frame(content) = event { content.len() } else { 0 };
        let held = self.decoder.held() + events.iter().map(frame).sum::<usize>();
        let more = held.saturating_sub(SMALL_FRAME_BYTES);
        if self.room.grow(more, patience).await {
            return Ok(events);
        }
        Err(Error::other("there is no room for so long a frame now: others are arriving"))
    }

    /// All of it is answered. The time for a frame runs anew where one began or another one ended.
    fn answered(&mut self, anew: bool, now: Instant) {
        self.room.shrink(self.decoder.held().saturating_sub(SMALL_FRAME_BYTES));
        if anew {
            self.deadline = now + FRAME_TIMEOUT;
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

/// `told`: whether the log knows already that noise comes by this connection.
async fn answer(app: &Arc<App>, arrival: &Arrival, event: Event, told: &mut bool) -> Vec<u8> {
    let answers = match event {
        Event::Frame(bytes) => receive(app, Received { bytes, origin: Origin::Mllp(arrival) }).await,
        Event::TooLong => vec![refused(format!("a frame is at most {MAX_FRAME_BYTES} bytes long"))],
        Event::Garbage => {
            app.core.metrics.garbage.add(1, &[]);
            if !std::mem::replace(told, true) {
                tracing::warn!(peer = %arrival.peer, "bytes outside a frame were skipped on an MLLP connection");
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooms::Rooms;

    fn incoming(rooms: &Arc<Rooms>, by: &str) -> Incoming {
        Incoming::new(rooms.room(by), Instant::now())
    }

    #[tokio::test]
    async fn each_frame_has_its_own_time_however_they_are_cut() {
        let mut now = Instant::now();
        let mut incoming = incoming(&Rooms::new(0, 0), "a");
        // Silent for longer than a frame may take; then the reads always end inside a frame.
        for chunk in [&b"\x0bMS"[..], b"H\x1c\r\x0bM", b"SH\x1c\r\x0b", b"M\x1c\r\x0bM"] {
            now += FRAME_TIMEOUT / 4 * 3;
            let inside = incoming.decoder.is_inside();
            assert!(incoming.deadline().is_none_or(|deadline| now < deadline));
            let events = incoming.take(chunk, Duration::ZERO).await.unwrap();
            incoming.answered(!events.is_empty() || !inside, now);
        }
        for _ in 0..2 {
            now += FRAME_TIMEOUT / 4 * 3;
            assert_eq!(incoming.take(b"more", Duration::ZERO).await.unwrap(), []);
            incoming.answered(false, now);
        }
        assert!(incoming.deadline().is_some_and(|deadline| deadline < now), "one that goes on for ever has an end");
    }

    #[tokio::test]
    async fn long_frames_share_a_room_and_short_ones_need_none() {
        let rooms = Rooms::new(SMALL_FRAME_BYTES * 3, SMALL_FRAME_BYTES * 2);
        let [mut one, mut other, mut short] = ["a", "b", "c"].map(|by| incoming(&rooms, by));
        let content = vec![b'x'; SMALL_FRAME_BYTES * 3 - 16];
        assert_eq!(one.take(&[b"\x0b".as_slice(), &content[..]].concat(), Duration::ZERO).await.unwrap(), []);
        assert!(
            other.take(&[b"\x0b".as_slice(), &content[..]].concat(), Duration::ZERO).await.is_err(),
            "it was taken"
        );
        assert_eq!(short.take(b"\x0bMSH\x1c\r", Duration::ZERO).await.unwrap().len(), 1);
        assert_eq!(one.take(b"\x1c\r\x0bMSH", Duration::ZERO).await.unwrap(), [Event::Frame(content.clone())]);
        let mut third = incoming(&rooms, "d");
        assert!(
            third.take(&[b"\x0b".as_slice(), &content[..]].concat(), Duration::ZERO).await.is_err(),
            "until it is answered"
        );
        one.answered(true, Instant::now());
        let mut fourth = incoming(&rooms, "e");
        assert!(
            fourth.take(&[b"\x0b".as_slice(), &content[..]].concat(), Duration::ZERO).await.is_ok(),
            "then it is free"
        );
        let mut twice = incoming(&rooms, "e");
        assert!(
            twice
                .take(&[b"\x0b".as_slice(), &content[..SMALL_FRAME_BYTES + 32]].concat(), Duration::ZERO)
                .await
                .is_err()
        );
    }
}
