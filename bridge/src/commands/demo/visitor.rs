//! Somebody on the demo's pages, as a browser with a wallet: what people do there is done there.

use super::super::{Failed, client, serve::Running};
use super::call::json;
use crate::http::query::encode;
use crate::people::Person;
use crate::people::enrol::invite;
use crate::people::site::Site;
use crate::secret::{bytes, system_random};
use bytes::Bytes;
use http_body_util::Full;
use notary::chain::evm::local_key;
use serde_json::{Value, json as value};
use warp::http::{Request, Response, StatusCode, header};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// Somebody who is signed in.
pub(super) struct Visitor<'r> {
    pub(super) running: &'r Running,
    site: Site,
    cookie: String,
    /// Of the session's forms.
    token: String,
}

impl<'r> Visitor<'r> {
    /// Joins with a wallet whose key is forgotten at once. Who is invited as this person afterwards joins the same account.
    pub(super) async fn join(running: &'r Running, person: &Person) -> Result<Self, Failed> {
        let core = &running.app.core;
        let code = invite(&core.store, person, core.clock.now(), &system_random).map_err(Failed::from_error)?;
        let site = Site::of(&core.base);
        let mut visitor = Self { running, site, cookie: String::new(), token: String::new() };
        visitor.enter(code.expose()).await?;
        let page = visitor.ask("GET", "/me", FORM, String::new()).await?;
        visitor.token = token(&String::from_utf8_lossy(page.body()))?;
        Ok(visitor)
    }

    async fn enter(&mut self, code: &str) -> Result<(), Failed> {
        let secret = bytes(&system_random).map_err(Failed::from_error)?;
        let wallet = local_key(&secret).map_err(Failed::from_error)?;
        let address = wallet.address().to_string();
        let asked = self.post("/auth/join/message", &value!({"code": code, "address": address})).await?;
        let asked = json(asked.body())?;
        let message = asked["message"].as_str().unwrap_or_default();
        let signature = wallet.sign_message(message.as_bytes()).await.map_err(Failed::from_error)?.to_string();
        let answer = value!({"address": address, "nonce": asked["nonce"], "signature": signature});
        let welcome = self.post("/auth/join/wallet", &value!({"code": code, "answer": answer})).await?;
        let cookie = welcome.headers().get(header::SET_COOKIE).and_then(|set| set.to_str().ok()?.split(';').next());
        self.cookie = cookie.ok_or_else(|| Failed("nobody was let in".into()))?.to_owned();
        Ok(())
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Response<Bytes>, Failed> {
        self.ask("POST", path, JSON, body.to_string()).await
    }

    /// Fills a form of a page, and gives what comes of it.
    pub(super) async fn fill(&self, path: &str, fields: &[(&str, &str)]) -> Result<Response<Bytes>, Failed> {
        let all = [&[("token", self.token.as_str())][..], fields].concat();
        self.ask("POST", path, FORM, form(&all)).await
    }

    async fn ask(&self, method: &str, path: &str, kind: &str, body: String) -> Result<Response<Bytes>, Failed> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.site.authority.as_str())
            .header(header::ORIGIN, self.site.origin.as_str())
            .header(header::COOKIE, self.cookie.as_str())
            .header(header::CONTENT_TYPE, kind)
            .body(Full::new(Bytes::from(body)))
            .map_err(Failed::from_error)?;
        let reply = client::send(self.running.http, request).await?;
        match reply.status() {
            status if status.is_success() || status == StatusCode::SEE_OTHER => Ok(reply),
            status => Err(Failed(format!("{method} {path}: {status}"))),
        }
    }
}

/// Names and values as a form sends them.
pub(super) fn form(fields: &[(&str, &str)]) -> String {
    fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect::<Vec<_>>().join("&")
}

/// The token of a page's forms.
fn token(page: &str) -> Result<String, Failed> {
    let found = page.split_once("name=\"token\" value=\"").and_then(|(_, rest)| rest.split('"').next());
    found.map(str::to_owned).ok_or_else(|| Failed("the page has no form".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_encoded_and_its_token_found() {
        assert_eq!(form(&[("a", "b c"), ("d", "&")]), "a=b%20c&d=%26");
        assert_eq!(token("<input name=\"token\" value=\"x1\">").unwrap(), "x1");
        assert!(token("<p>").is_err());
    }
}
