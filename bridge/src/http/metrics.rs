//! `/metrics` for Prometheus. Beside the API it takes the configured token, and without one it is not there; on an address of its own
//! it asks nobody who he is, and answers nothing else.

use super::impatient::Impatient;
use super::reply::{Reply, body, failure};
use super::routes::{Request, not_found, only};
use crate::app::App;
use crate::error::Issue;
use crate::limits::{HEADER_TIMEOUT, MAX_HEADER_BYTES, MAX_METRICS_CONNECTIONS, WRITE_TIMEOUT};
use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use warp::http::{Method, StatusCode, header};

/// Prometheus's text form.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics` beside the API.
pub(super) async fn beside_the_api(app: &Arc<App>, request: &Request) -> Result<Reply, Reply> {
    let Some(token) = &app.metrics_token else { return Err(not_found()) };
    only(request, &[Method::GET])?;
    let given = request.headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    match given.map(|given| aws_lc_rs::constant_time::verify_slices_are_equal(given, token)) {
        Some(Ok(())) => Ok(metrics(app).await),
        _ => {
            let text = "this takes the token of the file that `telemetry.metrics_token` names";
            Err(failure(StatusCode::UNAUTHORIZED, Issue::new("login", text)))
        }
    }
}

async fn metrics(app: &Arc<App>) -> Reply {
    let asked = app.clone();
    match tokio::task::spawn_blocking(move || asked.core.metrics.text()).await {
        Ok(Ok(text)) => body(StatusCode::OK, TEXT, text),
        _ => failure(StatusCode::INTERNAL_SERVER_ERROR, Issue::new("exception", "the metrics cannot be told")),
    }
}

/// Serves them on an address of their own until `stop` turns true.
pub async fn serve(app: Arc<App>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(MAX_METRICS_CONNECTIONS));
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEADER_BYTES);
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stopping| *stopping) => return,
            accepted = listener.accept() => accepted,
        };
        let (Ok((stream, _)), Ok(place)) = (accepted, places.clone().try_acquire_owned()) else {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let (app, stop) = (app.clone(), stop.clone());
        let answers = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let app = app.clone();
            async move { Ok::<_, Infallible>(alone(&app, &request).await.map(Full::<Bytes>::new)) }
        });
        let connection = builder.serve_connection(TokioIo::new(Impatient::new(stream, WRITE_TIMEOUT)), answers);
        tokio::spawn(until(stop, async move {
            // A monitor that breaks off is no news.
            let _ = connection.await;
            drop(place);
        }));
    }
}

async fn until(mut stop: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        _ = stop.wait_for(|stopping| *stopping) => {}
        () = work => {}
    }
}

async fn alone<B>(app: &Arc<App>, request: &hyper::Request<B>) -> Reply {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => metrics(app).await,
        _ => not_found(),
    }
}
