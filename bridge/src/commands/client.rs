//! A small HTTP client for the demo and the tests: one request, one answer.

use super::Failed;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use warp::http::{Request, Response};

/// Sends a request to an address and reads the whole answer.
pub async fn send(address: SocketAddr, mut request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Failed> {
    let stream = TcpStream::connect(address).await.map_err(|e| Failed(format!("{address}: {e}")))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Failed::from_error)?;
    let driver = tokio::spawn(connection);
    let host = warp::http::HeaderValue::from_str(&address.to_string()).map_err(Failed::from_error)?;
    request.headers_mut().entry("host").or_insert(host);
    let response = sender.send_request(request).await.map_err(Failed::from_error)?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(Failed::from_error)?.to_bytes();
    driver.abort();
    Ok(Response::from_parts(parts, body))
}
