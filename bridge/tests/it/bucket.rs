//! An S3 API in this process (s3s-fs), with a layer before it that spoils answers as it is told.

use aws_sdk_s3::config::Credentials;
use bridge::vault::objects::Objects;
use bridge::vault::objects::s3::{Bounds, S3Settings};
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use warp::http::{Request, Response};

/// What is done to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoil {
    /// Answered with this status, not carried out.
    Status(u16),
    /// Carried out, and never answered.
    Silence,
    /// Carried out; the answer announces its length and breaks off in the middle.
    Truncated,
    /// Carried out; the answer is whole in itself, and half as long as it should be.
    Half,
    /// The connection is closed; nothing is carried out.
    Reset,
    /// Carried out, and the connection is closed.
    ResetAfter,
}

/// A request that came: its method, its path with the query, and its headers.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub uri: String,
    pub headers: warp::http::HeaderMap,
}

/// A served bucket `records`.
#[derive(Clone)]
pub struct Bucket {
    pub endpoint: String,
    /// Which requests are spoiled next: a word of method and URI, and how.
    plan: Arc<Mutex<VecDeque<(&'static str, Spoil)>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// How much later it answers, in milliseconds.
    later: Arc<AtomicU64>,
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;

impl Bucket {
    /// Serves a directory; the bucket is a folder in it.
    pub async fn serve(root: &Path) -> Self {
        Self::serve_at(root, TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub fn serve_at(root: &Path, listener: TcpListener) -> Self {
        std::fs::create_dir_all(root.join("records")).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).unwrap());
        builder.set_auth(SimpleAuth::from_single("key", "secret"));
        let service = builder.build();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let bucket = Self { endpoint, plan: Arc::default(), seen: Arc::default(), later: Arc::default() };
        let served = bucket.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (bucket, service) = (served.clone(), service.clone());
                tokio::spawn(async move {
                    let answer = move |request| answer(bucket.clone(), service.clone(), request);
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let io = TokioIo::new(stream);
                    let _ = builder.serve_connection(io, hyper::service::service_fn(answer)).await;
                });
            }
        });
        bucket
    }

    /// Lets it answer so much later, as one that is far away.
    #[allow(dead_code, reason = "for benchmarks")]
    pub fn delay(&self, later: Duration) {
        self.later.store(later.as_millis() as u64, Ordering::Relaxed);
    }

    /// Spoils the next requests whose method and URI hold the word, in this order.
    pub fn spoil(&self, word: &'static str, how: &[Spoil]) {
        self.plan.lock().unwrap().extend(how.iter().map(|h| (word, *h)));
    }

    /// Whether all that was to be spoiled was spoiled.
    pub fn spoiled_all(&self) -> bool {
        self.plan.lock().unwrap().is_empty()
    }

    /// The requests so far; forgets them.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    pub fn settings(&self) -> S3Settings {
        S3Settings {
            bucket: "records".into(),
            prefix: "one/two".into(),
            endpoint: Some(self.endpoint.clone()),
            path_style: true,
            ..S3Settings::default()
        }
    }

    /// A client that waits for nothing long, and sends in parts early.
    pub fn objects(&self, settings: &S3Settings) -> Objects {
        let short = Bounds {
            attempt: Duration::from_secs(3),
            operation: Duration::from_secs(30),
            first_pause: Duration::from_millis(5),
            last_pause: Duration::from_millis(20),
            whole_bytes: 128 << 10,
            part_bytes: 5 << 20,
            ..Bounds::default()
        };
        Objects::s3_with(settings, Credentials::new("key", "secret", None, None, "test"), short, None)
    }

    fn next(&self, request: &Request<Incoming>) -> Option<Spoil> {
        let line = format!("{} {}", request.method(), request.uri());
        let mut plan = self.plan.lock().unwrap();
        let hit = plan.front().is_some_and(|(word, _)| line.contains(word));
        if hit { plan.pop_front().map(|(_, how)| how) } else { None }
    }
}

async fn answer(
    bucket: Bucket,
    service: S3Service,
    request: Request<Incoming>,
) -> Result<Response<Body>, std::io::Error> {
    let spoil = bucket.next(&request);
    tokio::time::sleep(Duration::from_millis(bucket.later.load(Ordering::Relaxed))).await;
    bucket.seen.lock().unwrap().push(Seen {
        method: request.method().to_string(),
        uri: request.uri().to_string(),
        headers: request.headers().clone(),
    });
    let cut = || std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    match spoil {
        Some(Spoil::Status(status)) => {
            let code = if status == 503 { "SlowDown" } else { "InternalError" };
            let text = format!("<Error><Code>{code}</Code><Message>spoiled</Message></Error>");
            // What was sent is taken, as a server behind a proxy does.
            let _ = request.into_body().collect().await;
            return Ok(Response::builder().status(status).body(whole(text.into())).unwrap());
        }
        Some(Spoil::Reset) => return Err(cut()),
        _ => {}
    }
    let reply = hyper::service::Service::call(&service, request).await.map_err(std::io::Error::other)?;
    let (mut parts, body) = reply.into_parts();
    let body = BodyExt::collect(body).await.map_err(std::io::Error::other)?.to_bytes();
    let half = body.slice(..body.len() / 2);
    match spoil {
        Some(Spoil::Silence) => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Err(cut())
        }
        Some(Spoil::ResetAfter) => Err(cut()),
        Some(Spoil::Truncated) => {
            let frames = futures_util::stream::iter([Ok(Frame::data(half)), Err(cut())]);
            // The head and the first bytes go out before the connection breaks.
            let paced = frames.then(|frame| async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                frame
            });
            Ok(Response::from_parts(parts, StreamBody::new(paced).boxed_unsync()))
        }
        Some(Spoil::Half) => {
            parts.headers.insert("content-length", half.len().into());
            Ok(Response::from_parts(parts, whole(half)))
        }
        _ => Ok(Response::from_parts(parts, whole(body))),
    }
}

fn whole(bytes: Bytes) -> Body {
    http_body_util::Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
