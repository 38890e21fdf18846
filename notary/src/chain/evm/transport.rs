//! JSON-RPC over HTTP. alloy's own transport reads answers of any length and names the URL, which may hold a secret, in its spans.

use alloy_json_rpc::{RequestPacket, ResponsePacket};
use alloy_transport::{TransportError, TransportErrorKind, TransportFut};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use std::task::{Context, Poll};
use std::time::Duration;
use tower::Service;
use url::Url;

/// The longest answer: the events of 2,000 blocks, or the proofs of some dozens of slots, are a tenth of it.
const MAX_ANSWER_BYTES: usize = 8 << 20;

/// Speaks with one node.
#[derive(Clone)]
pub(super) struct Transport {
    client: reqwest::Client,
    url: Url,
}

impl Transport {
    /// `patience` is for each answer as a whole.
    pub(super) fn new(url: Url, patience: Duration) -> reqwest::Result<Self> {
        // No redirect: it would carry what is asked to whom nobody named.
        let client = reqwest::Client::builder().timeout(patience).redirect(reqwest::redirect::Policy::none());
        Ok(Self { client: client.build()?, url })
    }

    async fn exchange(self, asked: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let body = serde_json::to_vec(&asked).map_err(TransportError::ser_err)?;
        let json = HeaderValue::from_static("application/json");
        let answer = self.client.post(self.url).header(CONTENT_TYPE, json).body(body).send().await.map_err(told)?;
        let status = answer.status();
        let bytes = read(answer).await?;
        // Some nodes answer an error of JSON-RPC with a status of HTTP to fit.
        serde_json::from_slice(&bytes).map_err(|_| match status.is_success() {
            true => TransportErrorKind::custom_str("its answer is not JSON-RPC"),
            false => TransportErrorKind::http_error(status.as_u16(), String::new()),
        })
    }
}

async fn read(mut answer: reqwest::Response) -> Result<Vec<u8>, TransportError> {
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(told)? {
        if bytes.len() + piece.len() > MAX_ANSWER_BYTES {
            return Err(TransportErrorKind::custom_str("its answer is too long"));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn told(error: reqwest::Error) -> TransportError {
    TransportErrorKind::custom(error.without_url())
}

impl Service<RequestPacket> for Transport {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, asked: RequestPacket) -> Self::Future {
        Box::pin(self.clone().exchange(asked))
    }
}
