//! The MLLP listener: each connection is a feed that is answered in order.

use super::ack::{self, Mode};
use super::frame::{Decoder, Event, encode};
use crate::app::App;
use crate::error::{IngestError, Issue};
use crate::ingest::{Answered, Received, receive};
use crate::limits::{FRAME_TIMEOUT, MAX_FRAME_BYTES, MAX_MLLP_CONNECTIONS, WRITE_TIMEOUT};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tracing::Instrument;

/// Accepts connections until `stop` turns true, then waits for those that are answering.
pub async fn serve(app: Arc<App>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(MAX_MLLP_CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stopping| *stopping) => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: others close, then it goes on.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            app.core.metrics.refused_connections.add(1, "mllp");
            tracing::warn!(limit = MAX_MLLP_CONNECTIONS, "an MLLP connection was refused: too many are open");
            continue;
        };
        let (app, stop) = (app.clone(), stop.clone());
        connections.spawn(async move {
            if let Err(error) = connection(&app, stream, stop).await {
                tracing::info!(%error, "an MLLP connection ended");
            }
            drop(place);
        });
    }
    while connections.join_next().await.is_some() {}
}

async fn connection(app: &Arc<App>, mut stream: TcpStream, mut stop: watch::Receiver<bool>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
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
            let acks = answer(app, event).instrument(span.clone()).await;
            let acknowledging = span.in_scope(|| tracing::info_span!("acknowledge"));
            let written = tokio::time::timeout(WRITE_TIMEOUT, stream.write_all(&acks).instrument(acknowledging)).await;
            written.map_err(|_| std::io::Error::other("the sender does not take its acknowledgement"))??;
        }
    }
}

/// The next bytes; a frame that has begun must be whole by its deadline.
async fn next(stream: &mut TcpStream, buffer: &mut [u8], deadline: Option<Instant>) -> std::io::Result<usize> {
    let Some(deadline) = deadline else { return stream.read(buffer).await };
    let read = tokio::time::timeout_at(deadline, stream.read(buffer)).await;
    read.map_err(|_| std::io::Error::other("a frame did not end in time"))?
}

async fn answer(app: &Arc<App>, event: Event) -> Vec<u8> {
    let answers = match event {
        Event::Frame(bytes) => receive(app, Received { bytes }).await,
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
