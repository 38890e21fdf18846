//! A grant is signed: what the passkey or the wallet is asked, and that it has answered.

use super::access::{own, withdraw};
use super::guard;
use super::letting;
use super::refusal::Refusal;
use super::shares;
use super::visit::Visit;
use super::words::title;
use super::{at_desk, json, news, site};
use crate::app::App;
use crate::consent::give::{self, Draft};
use crate::http::reply::Reply;
use crate::http::routes::Request;
use crate::people::Role;
use crate::people::passkey::Assertion;
use crate::people::session::Session;
use crate::smart::scopes;
use crate::smart::token::Caller;
use alloy_primitives::B256;
use notary::consent::{Preimage, Tag};
use serde::Deserialize;
use serde_json::{Value, json as value};
use std::sync::Arc;

/// What the page of the terms sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signing {
    token: String,
    draft: String,
    /// The tag of the preimage that the browser made.
    tag: Tag,
    /// `passkey`, `wallet`, or `record`.
    with: String,
    /// What was signed.
    #[serde(default)]
    answer: Value,
    /// The preimage, where a copy is to be kept.
    preimage: Option<B256>,
}

/// `POST /me/access/{options,sign}`.
pub(super) async fn sign(app: &Arc<App>, request: &Request, step: &str) -> Result<Reply, Refusal> {
    guard::from_here(&site(app), &request.headers)?;
    let _place = app.sign_ins.try_acquire().map_err(|_| Refusal::Busy)?;
    let asked: Signing = guard::json(request)?;
    let session = guard::signed_in(app, request, Some(&asked.token)).await?;
    let draft = Draft::open(&app.core, &asked.draft, &session.account.id)?;
    if step == "options" {
        options(app, &session, &draft, &asked).await
    } else {
        signed(app, request, draft, asked).await
    }
}

async fn options(app: &Arc<App>, session: &Session, draft: &Draft, asked: &Signing) -> Result<Reply, Refusal> {
    let registry = give::registry(&app.core)?;
    let opening = draft.opening(&app.core, asked.tag, called)?;
    if asked.with == "wallet" {
        let message = registry.sealed_message(&opening.terms, opening.tag, opening.not_after);
        return Ok(json(&value!({"message": message})));
    }
    let (account, digest) = (session.account.id.clone(), opening.digest(&registry));
    at_desk(app, move |desk| desk.consent_options(&account, digest)).await.map(|options| json(&options))
}

async fn signed(app: &Arc<App>, request: &Request, draft: Draft, asked: Signing) -> Result<Reply, Refusal> {
    let recorded = draft.choice.recorded_by.is_some();
    let scope = if recorded { "user/Consent.cu" } else { "patient/Consent.cu" };
    let visit = match recorded {
        true => Visit::of(app, request, Role::Clinician).await?,
        // Who acts for somebody must still.
        false => Visit::of_patient(app, request, ward(&draft)).await?,
    };
    let visit = visit.map_err(|_| Refusal::Login)?;
    let registry = give::registry(&app.core)?;
    let mut opening = draft.opening(&app.core, asked.tag, called)?;
    if !recorded {
        let proof = proof(&visit, &asked, opening.digest(&registry)).await?;
        opening.signature = Some(proof.into());
    }
    let preimage = asked.preimage.map(|preimage| Preimage(preimage.0));
    let by = Caller { scopes: scopes::parse_known(scope), ..visit.caller.clone() };
    let key = give::give(app, by, &draft, opening, preimage).await?;
    news(&visit.session.account.id, "access was given");
    shares::granted(&visit, &draft.choice).await;
    if draft.choice.lets_in() {
        letting::replace(&visit, &draft.choice.recipient, Some(key)).await?;
    } else if let Some(old) = draft.instead {
        let old = own(&visit, &old.to_string()).await?;
        withdraw(app, old.key, None).await?;
    }
    Ok(json(&value!({"chain": registry.chain_id, "contract": registry.contract.to_string(), "grant": key.to_string()})))
}

/// For whom a guardian signs.
fn ward(draft: &Draft) -> Option<&str> {
    draft.choice.acted_by.as_ref().and(draft.choice.patient.strip_prefix("Patient/"))
}

async fn proof(visit: &Visit<'_>, asked: &Signing, digest: B256) -> Result<Vec<u8>, Refusal> {
    let (account, answer) = (visit.session.account.id.clone(), asked.answer.clone());
    match asked.with.as_str() {
        "passkey" => {
            let said: Assertion = serde_json::from_value(answer).map_err(|_| Refusal::Form)?;
            at_desk(visit.app, move |desk| desk.consent_by_passkey(&account, digest, &said)).await
        }
        "wallet" => {
            let signature = answer.as_str().ok_or(Refusal::Form)?.to_owned();
            at_desk(visit.app, move |desk| desk.consent_by_wallet(&account, digest, &signature)).await
        }
        _ => Err(Refusal::Form),
    }
}

fn called(kind: &str) -> String {
    title(kind).to_owned()
}
