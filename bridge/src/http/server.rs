//! Listens: an accept loop of our own under warp, for header time-outs, a bound on connections, and a stop that lets running
//! requests end.

use super::encoding::{packed, unpacked};
use super::exchange::may_send;
use super::impatient::Impatient;
use super::login::{Remote, prepare, subject, turn};
use super::reply::{Reply, Streamed};
use super::routes::{BadBody, Request, dispatch};
use crate::app::App;
use crate::audit::seen::Seen;
use crate::limits::{
    BODY_TIMEOUT, HANDSHAKE_TIMEOUT, HEADER_TIMEOUT, MAX_AUTH_BYTES, MAX_BODIES_OF_ONE, MAX_BODY_BYTES,
    MAX_HEADER_BYTES, MAX_WITNESS_BYTES, ROOM_PATIENCE, VALUE_BYTES, WRITE_TIMEOUT,
};
use crate::places::Places;
use crate::rooms::Room;
use crate::tls::Refusal;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::stream::{Stream, unfold};
use http_body_util::{self as body, StreamBody};
use hyper::body::Frame;
use hyper::server::conn::http1::Builder;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use notary::canonical::MAX_VALUES;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use warp::Filter;
use warp::http::{HeaderMap, Method, Response, header};

/// What who comes one too many is told.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Serves until `stop` turns true, then lets running requests end.
pub async fn serve(app: Arc<App>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let (limits, core) = (&app.config.limits, app.core.clone());
    let places = Places::new(limits.http_connections, limits.http_connections_per_address);
    let graceful = GracefulShutdown::new();
    let answers = TowerToHyperService::new(warp::service(filter(app.clone())));
    let service = service_fn(move |request| {
        let answer = answers.call(request);
        async move { answer.await.map(with_stream) }
    });
    // HTTP/1.1 alone: its header time-out also ends connections that are silent. HTTP/2 comes from the proxy.
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEADER_BYTES);
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stopping| *stopping) => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let door = app.core.feeds().doors.http.clone();
        let Some(place) = places.take(peer.ip()) else {
            core.metrics.refused_connections.add(1, "http");
            if places.refusals.is_news(std::time::Instant::now()) {
                tracing::warn!(%peer, "an HTTP connection was refused: too many are open, in all or of its address");
            }
            if door.is_none() {
                // It fits into the empty buffer of a new socket.
                _ = stream.try_write(FULL);
            }
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (builder, service, watcher, core) = (builder.clone(), service.clone(), graceful.watcher(), core.clone());
        let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(Remote(peer.ip()));
            service.call(request)
        });
        tokio::spawn(async move {
            // A client that breaks off is no news.
            match begun(door, stream).await {
                Ok(stream) => {
                    let stream = TokioIo::new(Impatient::new(stream, WRITE_TIMEOUT));
                    let _ = watcher.watch(builder.serve_connection(stream, service)).await;
                }
                Err(error) => core.metrics.refused_handshakes.add(1, Refusal::of(&error).word()),
            }
            drop(place);
        });
    }
    if tokio::time::timeout(crate::limits::DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("some HTTP requests did not end in time");
    }
}

/// The stream, or the TLS over it; nothing where TLS does not begin in time.
async fn begun(door: Option<Arc<ServerConfig>>, stream: TcpStream) -> std::io::Result<Spoken> {
    let Some(door) = door else { return Ok(Spoken::Left(stream)) };
    let accepting = TlsAcceptor::from(door).accept(stream);
    let accepted = tokio::time::timeout(HANDSHAKE_TIMEOUT, accepting).await??;
    Ok(Spoken::Right(Box::new(accepted)))
}

type Spoken = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Puts the body in that is still being made, where the reply has one.
fn with_stream<B: hyper::body::Body>(
    mut reply: Response<B>,
) -> Response<body::Either<B, StreamBody<impl Stream<Item = Framed>>>> {
    let parts = reply.extensions_mut().remove::<Streamed>().and_then(|streamed| streamed.take());
    reply.map(|whole| match parts {
        None => body::Either::Left(whole),
        Some(parts) => body::Either::Right(StreamBody::new(unfold(parts, |mut parts| async move {
            let part = parts.recv().await?;
            Some((part.map(Frame::data), parts))
        }))),
    })
}

type Framed = Result<Frame<Bytes>, std::io::Error>;

/// One filter: everything about a request, then the routes.
fn filter(app: Arc<App>) -> impl Filter<Extract = (Reply,), Error = Infallible> + Clone {
    let query = warp::query::raw().or_else(|_| async { Ok::<_, warp::Rejection>((String::new(),)) });
    let request = warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Remote>())
        .and(warp::body::stream())
        .then(move |method: Method, path: warp::path::FullPath, query: String, headers: HeaderMap, from, body| {
            let app = app.clone();
            async move {
                let path = percent_decoded(path.as_str());
                // The connection leaves the body of an answer to HEAD away.
                let method = if method == Method::HEAD { Method::GET } else { method };
                let accept = headers.get(header::ACCEPT_ENCODING).cloned();
                let mut request =
                    Request { method, path, query, headers, body: Ok(Bytes::new()), seen: Seen::default() };
                prepare(&app, &request.headers).await;
                // Nothing is read for a stranger, and not more at once than memory has room for.
                let mut room = None;
                let turn = turn(&app, &request, from);
                // Whose turn has not come is not asked whether he is another organisation.
                let sends = turn.is_ok() && takes_body(&request.method);
                let who = if sends { sender(&app, &request).await } else { None };
                let most = for_strangers(&request).or(who.as_ref().map(|_| MAX_BODY_BYTES));
                if let Err(wait) = turn {
                    request.body = Err(BadBody::Late(wait));
                } else if most.is_some_and(|most| announced(&request.headers) > most as u64) {
                    request.body = Err(BadBody::TooLong);
                } else if let Some(most) = for_strangers(&request) {
                    request.body = collect(body, most, None).await;
                } else if let Some(who) = who {
                    let taken = room.insert(app.bodies.room(&who));
                    request.body = taken_in(&request.headers, body, taken).await;
                }
                let reply = packed(accept, dispatch(&app, request).await).await;
                drop(room);
                reply
            }
        });
    request.or_else(|_| async { Ok::<_, Infallible>((super::routes::not_found(),)) })
}

/// Who sends a body, if it is somebody who may: a token's subject, or another organisation.
async fn sender(app: &App, request: &Request) -> Option<String> {
    match subject(app, &request.headers) {
        Some(subject) => Some(format!("subject {subject}")),
        None => may_send(app, request).await.then(|| "organisations".to_owned()),
    }
}

/// The body, unpacked. Room is taken for what has come and not for what was announced; one that is packed may become as long as any.
async fn taken_in<B: Buf>(
    headers: &HeaderMap,
    body: impl Stream<Item = Result<B, warp::Error>>,
    room: &mut Room,
) -> Result<Bytes, BadBody> {
    let whole = collect(body, MAX_BODY_BYTES, Some(&mut *room)).await?;
    if headers.contains_key(header::CONTENT_ENCODING) && !room.grow(whole.len() + MAX_BODY_BYTES, ROOM_PATIENCE).await {
        return Err(BadBody::Full);
    }
    let body = unpacked(headers, whole).await?;
    let needed = needs(&body);
    room.shrink(needed);
    if room.grow(needed, ROOM_PATIENCE).await { Ok(body) } else { Err(BadBody::Full) }
}

// Whatever can be read finds room, if nothing else of that client is there.
const _: () = assert!(MAX_BODY_BYTES + MAX_VALUES * VALUE_BYTES <= MAX_BODIES_OF_ONE);

/// What a body and what is read out of it take in memory: some kilobytes may be packed that become millions of values.
fn needs(body: &[u8]) -> usize {
    let begins = body.iter().filter(|byte| matches!(byte, b',' | b'{' | b'[')).count();
    body.len() + begins.min(MAX_VALUES) * VALUE_BYTES
}

/// How much a stranger may send where his request proves itself: a log asks for a cosignature, a client for a token.
fn for_strangers(request: &Request) -> Option<usize> {
    match request.path.as_str() {
        _ if request.method != Method::POST => None,
        "/witness/add-checkpoint" => Some(MAX_WITNESS_BYTES),
        path if path.starts_with("/auth/") || path.starts_with("/me/") || path == "/withdraw" => Some(MAX_AUTH_BYTES),
        _ => None,
    }
}

/// How long a body is that says so: nobody waits for what is refused anyway.
fn announced(headers: &HeaderMap) -> u64 {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    length.unwrap_or(0)
}

fn takes_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

fn percent_decoded(path: &str) -> String {
    // `+` is itself in a path; a bad escape stays and matches nothing.
    super::query::decode(&path.replace('+', "%2B")).unwrap_or_else(|_| path.to_owned())
}

/// The whole body, unless it is too long, does not arrive, or finds no room.
async fn collect<B: Buf>(
    body: impl Stream<Item = Result<B, warp::Error>>,
    most: usize,
    mut room: Option<&mut Room>,
) -> Result<Bytes, BadBody> {
    use futures_util::StreamExt;
    let mut body = pin!(body);
    let mut whole = BytesMut::new();
    let read = async {
        while let Some(part) = body.next().await {
            let mut part = part.map_err(|_| BadBody::TooLong)?;
            let length = whole.len() + part.remaining();
            if length > most {
                return Err(BadBody::TooLong);
            }
            if let Some(room) = &mut room
                && !room.grow(length, ROOM_PATIENCE).await
            {
                return Err(BadBody::Full);
            }
            whole.put(part.copy_to_bytes(part.remaining()));
        }
        Ok(())
    };
    tokio::time::timeout(BODY_TIMEOUT, read).await.map_err(|_| BadBody::TooLong)??;
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_for_what_is_read_out_of_a_body() {
        let small = br#"{"resourceType":"Patient","name":[{"family":"a"},{"family":"b"}]}"#;
        assert_eq!(needs(small), small.len() + 6 * VALUE_BYTES);
        let bomb = [b"[".as_slice(), &b"{},".repeat(900_000)].concat();
        assert!(needs(&bomb) > MAX_BODIES_OF_ONE / 2, "one at a time of a client");
    }
}
