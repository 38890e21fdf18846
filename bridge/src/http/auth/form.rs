//! The body of a request to the authorization server (RFC 6749, appendix B): each parameter once.

use super::refusal::Refusal;
use crate::http::query::pairs;
use crate::http::routes::Request;
use crate::limits::MAX_QUERY_BYTES;
use warp::http::header;

/// The parameters of a form. They hold secrets.
pub(super) struct Form(Vec<(String, String)>);

crate::redacted_debug!(Form);

impl Form {
    /// Reads a body. What is in the address is not looked at: secrets do not belong there.
    pub(super) fn read(request: &Request) -> Result<Self, Refusal> {
        let media = request.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let media = media.split(';').next().unwrap_or("").trim();
        if !media.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(Refusal::Request("send a form: application/x-www-form-urlencoded".into()));
        }
        let body = request.body.as_ref().map_err(|_| Refusal::TooLong)?;
        let text = std::str::from_utf8(body).map_err(|_| Refusal::Request("the form is not UTF-8".into()))?;
        if text.len() > MAX_QUERY_BYTES {
            return Err(Refusal::TooLong);
        }
        let pairs = pairs(text).map_err(|what| Refusal::Request(format!("the form cannot be read: {what}")))?;
        let mut names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if names.windows(2).any(|two| two[0] == two[1]) {
            return Err(Refusal::Request("a parameter stands in the form twice".into()));
        }
        Ok(Self(pairs))
    }

    /// A parameter; an empty one is none.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, value)| n == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// A parameter that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| Refusal::Request(format!("{name} is required")))
    }
}
