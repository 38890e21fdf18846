//! Listens: an accept loop of our own under warp, for header time-outs, a bound on connections, and a stop that lets running
//! requests end.

use super::encoding::{packed, unpacked};
use super::login::{known, prepare};
use super::reply::{Reply, Streamed};
use super::routes::{BadBody, Request, dispatch};
use crate::app::{App, BODY_UNIT};
use crate::audit::seen::Seen;
use crate::limits::{
    BODY_TIMEOUT, HEADER_TIMEOUT, MAX_AUTH_BYTES, MAX_BODY_BYTES, MAX_HTTP_CONNECTIONS, MAX_WITNESS_BYTES,
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::stream::{Stream, unfold};
use http_body_util::{Either, StreamBody};
use hyper::body::Frame;
use hyper::server::conn::http1::Builder;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use warp::Filter;
use warp::http::{HeaderMap, Method, Response, header};

/// Serves until `stop` turns true, then lets running requests end.
pub async fn serve(app: Arc<App>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(MAX_HTTP_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let answers = TowerToHyperService::new(warp::service(filter(app)));
    let service = service_fn(move |request| {
        let answer = answers.call(request);
        async move { answer.await.map(with_stream) }
    });
    // HTTP/1.1 alone: its header time-out also ends connections that are silent. HTTP/2 comes with TLS, or from the proxy.
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stopping| *stopping) => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!(limit = MAX_HTTP_CONNECTIONS, "an HTTP connection was refused: too many are open");
            continue;
        };
        let _ = stream.set_nodelay(true);
        let connection = builder.serve_connection(TokioIo::new(stream), service.clone());
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A client that breaks off is no news.
            let _ = connection.await;
            drop(place);
        });
    }
    if tokio::time::timeout(crate::limits::DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("some HTTP requests did not end in time");
    }
}

/// Puts the body in that is still being made, where the reply has one.
fn with_stream<B: hyper::body::Body>(
    mut reply: Response<B>,
) -> Response<Either<B, StreamBody<impl Stream<Item = Framed>>>> {
    let parts = reply.extensions_mut().remove::<Streamed>().and_then(|streamed| streamed.take());
    reply.map(|whole| match parts {
        None => Either::Left(whole),
        Some(parts) => Either::Right(StreamBody::new(unfold(parts, |mut parts| async move {
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
        .and(warp::body::stream())
        .then(move |method: Method, path: warp::path::FullPath, query: String, headers: HeaderMap, body| {
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
                if let Some(most) = for_strangers(&request) {
                    request.body = collect(body, most).await.ok_or(BadBody::TooLong);
                } else if takes_body(&request.method) && known(&app, &request.headers) {
                    room = app.bodies.acquire_many(room_for(&request.headers)).await.ok();
                    request.body = match collect(body, MAX_BODY_BYTES).await {
                        Some(whole) => unpacked(&request.headers, whole).await,
                        None => Err(BadBody::TooLong),
                    };
                }
                let reply = packed(accept, dispatch(&app, request).await).await;
                drop(room);
                reply
            }
        });
    request.or_else(|_| async { Ok::<_, Infallible>((super::routes::not_found(),)) })
}

/// How much a body may become. One that is packed or does not say its length may become as long as any.
fn room_for(headers: &HeaderMap) -> u32 {
    let said = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let plain = !headers.contains_key(header::CONTENT_ENCODING);
    let bytes = said.filter(|_| plain).map_or(MAX_BODY_BYTES, |bytes| bytes.min(MAX_BODY_BYTES));
    (bytes / BODY_UNIT + 1) as u32
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

fn takes_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

fn percent_decoded(path: &str) -> String {
    // `+` is itself in a path; a bad escape stays and matches nothing.
    super::query::decode(&path.replace('+', "%2B")).unwrap_or_else(|_| path.to_owned())
}

/// The whole body, or nothing where it is too long or does not arrive.
async fn collect<B: Buf>(body: impl Stream<Item = Result<B, warp::Error>>, most: usize) -> Option<Bytes> {
    use futures_util::StreamExt;
    let mut body = pin!(body);
    let mut whole = BytesMut::new();
    let read = async {
        while let Some(part) = body.next().await {
            let mut part = part.ok()?;
            if whole.len() + part.remaining() > most {
                return None;
            }
            whole.put(part.copy_to_bytes(part.remaining()));
        }
        Some(())
    };
    tokio::time::timeout(BODY_TIMEOUT, read).await.ok()??;
    Some(whole.freeze())
}
